//! Lists in pages.

use serde_json::{Value, json};

use crate::here::row;
use crate::operations::{names, version};

const COUNT: usize = 40;
const PAGE: usize = 17;

/// [sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls [Conformance]
#[test]
fn lists_come_in_pages() {
    row("chunking", &[], async |here| {
        let templates = here.path("v1", "podtemplates");
        for number in 0..COUNT {
            let template = json!({"metadata": {"labels": {"app": "t"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}});
            here.post(&templates, &json!({"metadata": {"name": format!("template-{number:04}")}, "template": template})).await.ok();
        }
        let (mut found, mut token, mut revision) = (Vec::new(), String::new(), None);
        loop {
            let page = here.get(&format!("{templates}?limit={PAGE}&continue={token}")).await.ok();
            let first = revision.get_or_insert_with(|| version(&page)).clone();
            assert_eq!(version(&page), first);
            let some = names(&page);
            assert!(some.len() <= PAGE);
            found.extend(some);
            if found.len() == PAGE {
                // neither seen by later pages nor counted
                here.delete(&format!("{templates}/template-0039")).await.ok();
            }
            let remaining = COUNT - found.len();
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(next) => {
                    assert_eq!(page["metadata"]["remainingItemCount"], remaining);
                    next.clone_into(&mut token);
                }
                None => {
                    assert_eq!((remaining, &page["metadata"]["remainingItemCount"]), (0, &Value::Null));
                    break;
                }
            }
        }
        let wanted: Vec<String> = (0..COUNT).map(|number| format!("template-{number:04}")).collect();
        assert_eq!(found, wanted);
        let whole = here.get(&templates).await.ok();
        assert_eq!(names(&whole), wanted[..COUNT - 1]);
    });
}
