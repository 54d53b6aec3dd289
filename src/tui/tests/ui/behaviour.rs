//! What the whole UI does, seen from its screen: rows that live, writes that go where they should, what is configured.

use coracle_tui::Options;
use serde_json::json;

use crate::fake::Fake;
use crate::screens::cluster;

#[tokio::test]
async fn what_rbac_forbids_is_said_and_not_done() {
    let fake = crate::actions::cluster();
    fake.allow(json!([{"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}]));
    let mut ui = fake.ui(160, 30).await;
    ui.press(":deploy<enter>s").await.unwrap();
    assert!(ui.text().contains("you may not patch deployments/scale in namespace default"), "{}", ui.text());
    ui.press("<ctrl-d>").await.unwrap();
    assert_eq!(fake.writes(), Vec::<String>::new());
    ui.press("?").await.unwrap();
    assert!(ui.text().contains("delete (asks) (you may not delete"), "{}", ui.text());
}

#[tokio::test]
async fn in_production_the_context_must_be_typed() {
    let dir = tempfile::tempdir().unwrap();
    let fake = cluster();
    let mut ui = fake.production_ui(dir.path()).await;
    assert!(ui.text().contains("PRODUCTION"));
    ui.press("/api<enter><ctrl-d><enter>").await.unwrap();
    assert!(fake.get("pods/default/api-ppq9").is_some());
    ui.press("coracle<enter>").await.unwrap();
    assert!(fake.get("pods/default/api-ppq9").is_none(), "{}", ui.text());
}

#[tokio::test]
async fn what_is_configured_for_k9s_works_here() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("aliases.yaml", "aliases:\n  dd: apps/v1/deployments\n");
    write("hotkeys.yaml", "hotKeys:\n  services:\n    shortCut: Shift-2\n    description: Services\n    command: services\n");
    write(
        "views.yaml",
        "views:\n  v1/pods:\n    sortColumn: 'IMAGE:desc'\n    columns: [NAME, 'IMAGE:.spec.containers[0].image', STATUS]\n",
    );
    write(
        "plugins.yaml",
        "plugins:\n  say:\n    shortCut: Ctrl-J\n    description: Say it\n    scopes: [po]\n    command: echo\n    background: true\n    args: [$NAMESPACE/$NAME, $COL-IMAGE]\n",
    );
    let fake = cluster();
    let mut ui = fake.ui_with(Options { k9s_dir: Some(dir.path().to_owned()), ..Options::default() }, 160, 30).await;
    let text = ui.text();
    assert!(text.contains("IMAGE↓") && text.contains("coracle.local/kubia:1.0") && !text.contains("RESTARTS"), "{text}");
    ui.press("<ctrl-j>").await.unwrap();
    ui.until(|text| text.contains("Say it: default/api-ppq9 coracle.local/kubia:1.0")).await.unwrap();
    ui.press(":dd<enter>").await.unwrap();
    assert!(ui.text().contains("deployments 1"));
    ui.press("@").await.unwrap();
    assert!(ui.text().contains("services 0"), "{}", ui.text());
}

#[tokio::test]
async fn layouts_are_kept_and_laid_out_again() {
    let fake = crate::actions::cluster();
    let dir = tempfile::tempdir().unwrap();
    let mut ui = crate::actions::ui(&fake, dir.path(), 160, 45).await;
    ui.press("|:deploy<enter>_:svc<enter>:layout save work<enter>").await.unwrap();
    let kept = ui.text();
    drop(ui);
    let mut ui = crate::actions::ui(&fake, dir.path(), 160, 45).await;
    ui.press(":layout work<enter>").await.unwrap();
    let again = ui.text();
    let titles = |text: &str| -> Vec<String> { text.lines().skip(1).take(43).map(|line| line.replace('▸', " ")).collect() };
    for (before, after) in titles(&kept).iter().zip(titles(&again)) {
        assert_eq!(before.replace('▶', " "), after.replace('▶', " "));
    }
}

#[tokio::test]
async fn every_theme_draws_the_same_text() {
    let mut ui = cluster().ui(80, 24).await;
    let dark = ui.text();
    for theme in coracle_tui::theme::names() {
        ui.press(&format!(":theme {theme}<enter>")).await.unwrap();
        assert_eq!(ui.text(), dark, "{theme}");
    }
}

#[tokio::test]
async fn rows_are_live_and_the_cursor_stays_on_its_object() {
    let fake = cluster();
    let mut ui = fake.ui(80, 24).await;
    ui.press("G").await.unwrap();
    assert!(ui.text().contains("▶web-p449x"));
    fake.pod("default", "aaa-new", "Running", 0);
    let text = ui.until(|text| text.contains("aaa-new")).await.unwrap();
    assert!(text.contains("▶web-p449x"), "{text}");
    fake.remove("pods/default/aaa-new");
    ui.until(|text| !text.contains("aaa-new")).await.unwrap();
}

#[tokio::test]
async fn a_window_at_the_top_shows_what_comes_before_its_first_row() {
    let fake = Fake::new();
    for number in 0..40 {
        fake.pod("default", &format!("web-{number:02}"), "Running", 0);
    }
    let mut ui = fake.ui(80, 24).await;
    fake.pod("default", "api-1", "Running", 0);
    let text = ui.until(|text| text.contains("pods 41")).await.unwrap();
    assert!(text.contains("api-1") && text.contains("▶web-00"), "{text}");
    // further down what is under the cursor does not move on the screen
    ui.press("G").await.unwrap();
    let rows = |text: &str| text.lines().skip(1).filter(|line| line.contains("web-")).map(str::to_owned).collect::<Vec<_>>();
    let before = rows(&ui.text());
    fake.pod("default", "api-0", "Running", 0);
    let text = ui.until(|text| text.contains("pods 42")).await.unwrap();
    assert_eq!(rows(&text), before);
}

#[tokio::test]
async fn the_tree_of_a_pod_has_all_its_containers() {
    let fake = Fake::new();
    let mut pod = crate::fake::pod("default", "web-1", "Running", 0);
    pod["spec"]["initContainers"] =
        json!([{"name": "seed", "image": "kubia:1"}, {"name": "logs", "image": "kubia:2", "restartPolicy": "Always"}]);
    pod["spec"]["ephemeralContainers"] = json!([{"name": "debugger", "image": "kubia:3"}]);
    fake.put(pod);
    let mut ui = fake.ui(100, 24).await;
    ui.press("X").await.unwrap();
    let text = ui.until(|text| text.contains("container main")).await.unwrap();
    for part in ["init container seed  kubia:1", "sidecar container logs  kubia:2", "ephemeral container debugger  kubia:3"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn what_is_not_visible_draws_nothing() {
    let fake = cluster();
    let mut ui = fake.ui(80, 24).await;
    ui.draw();
    let frames = ui.frames;
    // in another namespace: not in this table at all
    fake.pod("shop", "cart-1", "Running", 0);
    ui.settle().await;
    ui.draw();
    assert_eq!(ui.frames, frames);
}

#[tokio::test]
async fn writes_go_where_they_should() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press(":deploy<enter>s<ctrl-u>5<enter>").await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 5);
    assert!(ui.text().contains("deployment web scaled 2 → 5"), "{}", ui.text());
    ui.press(":po<enter>/api<enter><ctrl-d><enter>").await.unwrap();
    assert!(fake.get("pods/default/api-ppq9").is_none());
    ui.press(":ns<enter>/shop<enter><ctrl-d>").await.unwrap();
    ui.press("wrong<enter>").await.unwrap();
    assert!(fake.get("namespaces//shop").is_some(), "a namespace goes only when its name is typed");
    ui.press("<ctrl-u>shop<enter>").await.unwrap();
    assert!(fake.get("namespaces//shop").is_none());
}

#[tokio::test]
async fn marks_act_in_bulk() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press("/web<enter><space><space><ctrl-d><enter>").await.unwrap();
    assert!(fake.get("pods/default/web-58vhc").is_none() && fake.get("pods/default/web-p449x").is_none());
    assert!(fake.get("pods/default/api-ppq9").is_some());
}

#[tokio::test]
async fn read_only_writes_nothing() {
    let fake = cluster();
    let mut ui = fake.readonly_ui().await;
    for keys in [
        "<ctrl-d><enter>",
        "<ctrl-k><enter>",
        ":deploy<enter>s<enter>",
        "e<ctrl-s><enter>",
        ":restart deploy web<enter><enter>",
        ":scale deploy web<enter><enter>",
        ":delete pod web-58vhc<enter><enter>",
    ] {
        ui.press(keys).await.unwrap();
        assert_eq!(fake.writes(), Vec::<String>::new(), "{keys}");
        ui.press("<esc>").await.unwrap();
    }
}

#[tokio::test]
async fn history_goes_back_and_forth() {
    let mut ui = cluster().ui(120, 30).await;
    ui.press(":deploy<enter>:ns<enter>").await.unwrap();
    for (keys, title) in [("[", "deployments"), ("[", "pods"), ("]", "deployments"), ("-", "pods"), ("-", "deployments")] {
        ui.press(keys).await.unwrap();
        let header = ui.text().lines().next().unwrap().to_owned();
        assert!(header.contains(title), "{keys}: {header}");
    }
}

#[tokio::test]
async fn what_is_used_is_shown_where_the_server_says_so() {
    let fake = crate::actions::cluster();
    fake.measure();
    let dir = tempfile::tempdir().unwrap();
    let mut ui = crate::actions::ui(&fake, dir.path(), 160, 45).await;
    let text = ui.until(|text| text.contains("▃ 25 %")).await.unwrap();
    assert!(text.contains("▅ 50 %"), "{text}");
    let line = text.lines().find(|line| line.contains("web-58vhc")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(words.windows(2).any(|pair| pair == ["32", "33"]), "{line}");
    ui.press("/cpu>30<enter>").await.unwrap();
    assert!(ui.text().contains("pods /cpu>30 1/4"), "{}", ui.text());
    ui.press(":rightsize<enter>").await.unwrap();
    let text = ui.until(|text| text.contains("nothing is asked for; ask for 40m")).await.unwrap();
    assert!(text.contains("web-58vhc"), "{text}");
    ui.press(":no<enter>").await.unwrap();
    let text = ui.text();
    let line = text.lines().find(|line| line.contains("▶laptop")).unwrap();
    assert!(line.split_whitespace().collect::<Vec<_>>().windows(4).any(|four| four == ["1000", "25", "1024", "50"]), "{text}");
}

#[tokio::test]
async fn dividers_follow_the_mouse() {
    use coracle_tui::input::{Input, MouseKind};
    let mut ui = cluster().ui(120, 30).await;
    ui.press("|").await.unwrap();
    let divider = |ui: &mut coracle_tui::Headless| ui.text().lines().nth(5).unwrap().chars().position(|c| c == '│').unwrap();
    let before = u16::try_from(divider(&mut ui)).unwrap();
    ui.input(Input::Mouse(MouseKind::Click, before, 5));
    ui.input(Input::Mouse(MouseKind::Drag, before + 20, 5));
    let after = divider(&mut ui);
    assert!(after.abs_diff(usize::from(before) + 20) <= 1, "{before} {after}");
}

#[tokio::test]
async fn jumps_of_k9s_lead_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("jumps.yaml"),
        "jumps:\n  example.com/v1/boats:\n    targetGVR: v1/pods\n    labelSelector: 'app=web'\n    fieldSelector: 'metadata.namespace={{.metadata.namespace}}'\n",
    )
    .unwrap();
    std::fs::write(dir.path().join("config.yaml"), "k9s:\n  readOnly: true\n  defaultView: boats\n  portForwardAddress: 0.0.0.0\n")
        .unwrap();
    let mut ui = cluster().ui_with(Options { k9s_dir: Some(dir.path().to_owned()), ..Options::default() }, 120, 30).await;
    assert!(ui.text().contains("boats 1") && ui.text().contains("read-only"), "{}", ui.text());
    ui.press("<enter>").await.unwrap();
    assert!(ui.text().contains("pods of boat coracle 2"), "{}", ui.text());
}

#[tokio::test]
async fn deleting_says_what_goes_too_and_what_would_miss_it() {
    let fake = crate::actions::cluster();
    let dir = tempfile::tempdir().unwrap();
    let mut ui = crate::actions::ui(&fake, dir.path(), 160, 45).await;
    ui.press(":deploy<enter><ctrl-d>").await.unwrap();
    ui.until(|text| text.contains("With it go: replicaset web-1") && text.contains("more.")).await.unwrap();
    ui.press("<esc>:cm<enter>/settings<enter><ctrl-d>").await.unwrap();
    ui.until(|text| text.contains("In use by pod web-58vhc")).await.unwrap();
}

#[tokio::test]
async fn help_and_prompt_are_made_of_the_table_of_actions() {
    use coracle_tui::action::{ACTIONS, Section};
    let mut ui = cluster().ui(160, 120).await;
    ui.press("?").await.unwrap();
    let text = ui.text();
    let scopes = ui.app.scopes();
    let here: Vec<_> = ACTIONS.iter().filter(|action| action.scopes.meet(scopes) && !action.keys.is_empty()).collect();
    assert!(here.len() > 60);
    for action in &here {
        let start: String = action.doc.chars().take(28).collect();
        assert!(text.contains(&start), "{} is not in the help:\n{text}", action.name);
    }
    ui.press("<esc>").await.unwrap();
    for action in here.iter().filter(|action| action.section != Section::Everywhere) {
        ui.press(&format!(":{}", action.name)).await.unwrap();
        let text = ui.text();
        let start: String = action.doc.chars().take(20).collect();
        assert!(text.contains(&start), "{} is not offered:\n{text}", action.name);
        ui.press("<esc>").await.unwrap();
    }
}

#[tokio::test]
async fn numbers_that_rise_are_marked_for_a_while() {
    let fake = cluster();
    let mut ui = fake.ui(100, 24).await;
    assert!(!ui.text().contains("41↑"));
    fake.pod("default", "api-ppq9", "CrashLoopBackOff", 42);
    ui.until(|text| text.contains("42↑")).await.unwrap();
}

#[tokio::test]
async fn a_slip_in_a_command_is_said_and_not_taken_for_another() {
    let mut ui = cluster().ui(120, 30).await;
    ui.press(":epo<enter>").await.unwrap();
    assert!(ui.text().contains("no kind and no command is called epo") && ui.text().contains("pods 4"), "{}", ui.text());
    ui.press(":dply<enter>").await.unwrap();
    assert!(ui.text().contains("deployments 1"), "{}", ui.text());
}

#[tokio::test]
async fn a_digit_typed_at_a_number_is_another_number() {
    let fake = cluster();
    let mut ui = fake.ui(120, 30).await;
    ui.press(":deploy<enter>s7<enter>").await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 7);
    ui.press("s<end>0<enter>").await.unwrap();
    assert_eq!(fake.get("deployments/default/web").unwrap()["spec"]["replicas"], 70);
}

#[tokio::test]
async fn the_finder_puts_names_before_namespaces() {
    let fake = cluster();
    fake.pod("kube-system", "a-dns", "Running", 0);
    let mut ui = fake.ui(120, 30).await;
    ui.press("<ctrl-o>kube-system").await.unwrap();
    let text = ui.text();
    let row = |word: &str| text.lines().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {text}"));
    assert!(row("namespaces") < row("a-dns"), "{text}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_and_nothing_else() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ui = cluster().ui(160, 30).await;
    ui.press(&format!("/58v<enter>F<tab><ctrl-u>{}<enter>", taken.local_addr().unwrap().port())).await.unwrap();
    let text = ui.until(|text| text.contains("no port-forward to port 8080 of pod web-58vhc")).await.unwrap();
    assert!(text.contains("in use") && !text.contains("goes to"), "{text}");
}
