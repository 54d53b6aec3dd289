//! Many rows: everything still works, and only the window is drawn.

use crate::fake::Fake;

#[tokio::test]
async fn three_thousand_pods() {
    let fake = Fake::new();
    for number in 0..3_000 {
        fake.pod("default", &format!("web-{number:05}"), if number % 100 == 0 { "Error" } else { "Running" }, number % 7);
    }
    let mut ui = fake.ui(160, 45).await;
    let text = ui.text();
    assert!(text.contains("pods 3,000") && text.contains("30 faults"), "{text}");
    ui.press("G").await.unwrap();
    assert!(ui.text().contains("▶web-02999"));
    ui.press("/0123<enter>").await.unwrap();
    assert!(ui.text().contains("11/3,000"), "{}", ui.text());
    ui.press("<esc><ctrl-z>").await.unwrap();
    assert!(ui.text().contains("30/3,000"));
}
