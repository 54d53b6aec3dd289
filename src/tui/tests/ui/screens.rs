//! Frames of every view at the two sizes we promise, after the keys that lead there.

use coracle_tui::{Headless, Options, StepState};
use rstest::rstest;
use serde_json::json;

use crate::fake::{Fake, deployment};

pub fn cluster() -> Fake {
    let fake = Fake::new();
    fake.pod("default", "web-58vhc", "Running", 0);
    fake.pod("default", "web-p449x", "Running", 2);
    fake.pod("default", "api-ppq9", "CrashLoopBackOff", 41);
    fake.pod("default", "job-seed", "Succeeded", 0);
    fake.pod("shop", "cart-1", "Pending", 0);
    fake.put(deployment("web", 2));
    fake.put(json!({"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "coracle", "namespace": "default"}, "spec": {"crew": 1}}));
    fake.put(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "web.1", "namespace": "default"}, "type": "Normal",
        "reason": "Scheduled", "message": "assigned to laptop", "lastTimestamp": "2026-11-21T11:42:00Z", "source": {"component": "scheduler"},
        "involvedObject": {"kind": "Pod", "name": "web-58vhc", "uid": "uid-web-58vhc"}}));
    fake.log("web-58vhc", "2026-11-21T11:42:05Z Kubia server starting...\n2026-11-21T11:42:09.5Z Received request for / from 10.244.0.1\n");
    fake
}

/// Frames of the small cluster: their names, and the keys that lead there.
const PLAIN: &[(&str, &str)] = &[
    ("pods", ""),
    ("pods-all-namespaces", "0"),
    ("pods-wide-sorted-by-restarts", "<ctrl-w><shift-right><shift-right><shift-right>OO"),
    ("pods-filtered", "/web<enter>"),
    ("pods-term", "/status!=Running restarts>3<enter>"),
    ("pods-faults", "<ctrl-z>"),
    ("pods-marked", "<space><space>"),
    ("filter-wrong", "/restarts>x"),
    ("deployments", ":deploy<enter>"),
    ("boats", ":boat<enter>"),
    ("pods-of-deployment", ":deploy<enter><enter>"),
    ("containers", "/58v<enter><enter>"),
    ("describe", "/58v<enter>d"),
    ("yaml", "/58v<enter>y"),
    ("yaml-searched", "/58v<enter>y/kubia<enter>n"),
    ("logs", "/58v<enter>l"),
    ("logs-timestamps-filtered", "/58v<enter>lt/received<enter>"),
    ("prompt", ":de"),
    ("prompt-namespaces", ":pods sh"),
    ("help", "?"),
    ("activity", ":nonsense<enter>!"),
    ("scale", ":deploy<enter>s"),
    ("delete", "<ctrl-d>"),
    ("delete-namespace", ":ns<enter><ctrl-d>"),
    ("namespaces-picker", "<ctrl-n>"),
    ("editor", ":deploy<enter>e"),
];

/// Frames of the cluster of [`crate::actions`].
const FURNISHED: &[(&str, &str)] = &[
    ("contexts", ":ctx<enter>"),
    ("port-forwards", "/58v<enter>F<tab><ctrl-u>0<enter>:pf<enter>"),
    ("port-forward", "/58v<enter>F"),
    ("helm", ":helm<enter>"),
    ("helm-revisions", ":helm<enter><enter>"),
    ("rollout", ":deploy<enter>H"),
    ("rollout-diff", ":deploy<enter>H<down><enter>"),
    ("versions", ":deploy<enter>T"),
    ("xray", ":deploy<enter>X"),
    ("xray-folded", ":xray deploy<enter>x"),
    ("why", "/api<enter>W"),
    ("timeline", "/58v<enter>:timeline<enter>"),
    ("pulse", ":pulse<enter>"),
    ("used-by", ":cm<enter>/settings<enter>u"),
    ("rules", ":can u:ada<enter>"),
    ("who-can", ":who-can list pods<enter>"),
    ("users", ":users<enter>"),
    ("workloads", ":workloads<enter>"),
    ("images", ":images<enter>"),
    ("fleet", ":fleet<enter>"),
    ("status", ":status<enter>"),
    ("aliases", ":aliases<enter>"),
    ("themes", ":themes<enter>"),
    ("theme-picker", ":theme<enter>"),
    ("keys", ":keys<enter>"),
    ("drain", ":no<enter>r"),
    ("columns", "C"),
    ("finder", "<ctrl-o>web"),
    ("preview", "/58v<enter>\\"),
    ("panes", "|:deploy<enter>"),
    ("panes-below", "_:svc<enter>"),
    ("drafts", ":drafts<enter>"),
    ("logs-histogram", "/58v<enter>li"),
    ("shell-refused", "/58v<enter>s"),
    ("menu", "/58v<enter>m"),
    ("editor-completing", ":deploy<enter>e<ctrl-f>image:<enter><end><enter>imageP<tab>"),
    ("editor-folded", ":deploy<enter>e<ctrl-f>template<enter><alt-f>"),
    ("editor-mistaken", ":deploy<enter>e<ctrl-f>replicas<enter><end><backspace>two"),
    ("yaml-folded", ":deploy<enter>yz"),
    ("rightsize", ":rightsize<enter>"),
    ("screendumps", ":sd<enter>"),
    ("benchmarks", ":be<enter>"),
    ("events", ":events<enter>"),
    ("tasks", ":tasks<enter>"),
    ("groups", ":groups<enter>"),
    ("replicasets", ":deploy<enter>z"),
    ("set-image", ":deploy<enter>i"),
    ("manifests", ":watch MANIFESTS<enter>"),
    ("header-off", "<ctrl-e>"),
    ("document", ":helm<enter>v"),
    ("jobs", ":cronjobs<enter><enter>"),
    ("timeline-of-deployment", ":deploy<enter>t<down><down>"),
];

/// What another time, another machine and another port would make different.
fn steady(name: &str, text: &str, dir: &std::path::Path, ui: &Headless) -> String {
    let mut text = text.replace(&dir.display().to_string(), "DIR");
    if let Some(listens) = ui.app.shared.forwards.all().first().map(|forward| forward.listens.clone()) {
        text = text.replace(&listens, "127.0.0.1:00000");
    }
    if name == "manifests" {
        text = regex::Regex::new(r" at \S+ in \d+ ms").unwrap().replace_all(&text, " at 00:00:00 in 0 ms").into_owned();
        // how much of the header there is room for depends on where the folder is
        let rows: Vec<&str> = text.lines().skip(1).collect();
        text = format!("{}\n", rows.join("\n"));
    }
    text
}

/// The frame as it was recorded.
fn recorded(name: &str) -> Option<String> {
    let path = format!("{}/tests/ui/snapshots/ui__screens__{name}.snap", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.splitn(3, "---\n").nth(2)?.to_owned())
}

/// One frame; what is shown in it is called so.
async fn frame(name: &str, keys: &str, plain: bool, (width, height): (u16, u16)) -> Vec<&'static str> {
    let dir = tempfile::tempdir().unwrap();
    let folder = crate::actions::folder(dir.path(), "default");
    let mut ui = if plain {
        cluster().ui(width, height).await
    } else {
        crate::actions::ui(&crate::actions::cluster(), dir.path(), width, height).await
    };
    if name.starts_with("editor") && !plain {
        std::fs::remove_dir_all(dir.path().join("drafts")).unwrap();
    }
    ui.press(&keys.replace("MANIFESTS", &folder.display().to_string())).await.unwrap();
    if name == "manifests" {
        ui.until(|text| text.contains(" ms") && text.contains(" 2/2")).await.unwrap();
    }
    // what is read beside may still be coming
    let name_of = format!("{name}@{width}x{height}");
    let recorded = recorded(&name_of);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let text = loop {
        let text = ui.text();
        let text = steady(name, &text, dir.path(), &ui);
        if recorded.as_ref().is_none_or(|recorded| recorded.trim_end() == text.trim_end()) || tokio::time::Instant::now() > deadline {
            break text;
        }
        ui.wait(std::time::Duration::from_millis(100)).await;
    };
    insta::assert_snapshot!(name_of, text);
    ui.app.shown()
}

/// Every view, and every layer over the views, has a picture at the size: one that is new fails here until it has.
#[rstest]
#[case(80, 24)]
#[case(160, 45)]
#[tokio::test]
async fn every_view_has_its_frames(#[case] width: u16, #[case] height: u16) {
    let mut seen = std::collections::BTreeSet::from(["boot"]);
    for (cases, plain) in [(PLAIN, true), (FURNISHED, false)] {
        for (name, keys) in cases {
            seen.extend(frame(name, keys, plain, (width, height)).await);
        }
    }
    the_start_is_shown_step_by_step(width, height);
    let missing: Vec<&&str> = coracle_tui::views::NAMES.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "no frame at {width}x{height} shows {missing:?}");
}

/// At every size nothing lies over anything, nothing is cut in the middle of a wide character, and names stay whole.
#[tokio::test]
async fn all_sizes_and_all_names() {
    let fake = crate::actions::cluster();
    for name in ["船-1", "émoji-🚣", "سفينة-1", "a-name-that-is-much-longer-than-others-but-not-too-long"] {
        fake.pod("default", name, "Running", 1);
    }
    let dir = tempfile::tempdir().unwrap();
    for (width, height) in [(60, 15), (80, 24), (160, 45), (300, 100)] {
        let mut ui = crate::actions::ui(&fake, dir.path(), width, height).await;
        for keys in ["", "0", "<ctrl-w>", "/58v<enter>d", ":deploy<enter>H", ":pulse<enter>", ":xray deploy<enter>", "|", "\\", "?"] {
            ui.press(keys).await.unwrap();
            let buffer = ui.buffer().clone();
            for y in 0..height {
                let mut x = 0;
                while x < width {
                    let wide = unicode_width::UnicodeWidthStr::width(buffer[(x, y)].symbol()).max(1);
                    let wide = u16::try_from(wide).unwrap();
                    assert!(x + wide <= width, "{keys} at {width}x{height}: a wide character is cut at {x},{y}");
                    x += wide;
                }
            }
            if keys.is_empty() {
                let text = ui.text();
                for name in ["web-58vhc", "船-1", "émoji-🚣", "a-name-that-is-much-longer"] {
                    assert!(text.contains(name), "{name} at {width}x{height}:\n{text}");
                }
                // the columns stand below their headings
                let lines: Vec<&str> = text.lines().collect();
                let column = |line: &str, word: &str| line.find(word).map(|at| unicode_width::UnicodeWidthStr::width(&line[..at]));
                let heading = column(lines[1], "READY");
                for line in lines.iter().filter(|line| line.contains("1/1")) {
                    assert_eq!(column(line, "1/1"), heading, "{line}");
                }
            }
            if keys == "?" {
                ui.press("<esc>").await.unwrap();
            }
        }
    }
}

/// Keys that lead to each view.
const VIEWS: &[&str] = &[
    "",
    "0",
    "/58v<enter><enter>",
    "/58v<enter>d",
    "/58v<enter>y",
    "/58v<enter>l",
    ":deploy<enter>",
    ":deploy<enter>e",
    ":deploy<enter>H",
    ":deploy<enter>H<down><enter>",
    ":deploy<enter>T",
    ":deploy<enter>X",
    ":xray deploy<enter>",
    ":pulse<enter>",
    ":helm<enter>",
    ":helm<enter><enter>",
    ":ctx<enter>",
    ":pf<enter>",
    ":can u:ada<enter>",
    ":who-can list pods<enter>",
    ":users<enter>",
    ":groups<enter>",
    ":workloads<enter>",
    ":images<enter>",
    ":fleet<enter>",
    ":rightsize<enter>",
    ":aliases<enter>",
    ":themes<enter>",
    ":keys<enter>",
    ":drafts<enter>",
    ":sd<enter>",
    ":be<enter>",
    ":events<enter>",
    ":tasks<enter>",
    ":no<enter>",
    ":ns<enter>",
    ":boat<enter>",
    ":cm<enter>/settings<enter>u",
    "/api<enter>W",
    "/58v<enter>:timeline<enter>",
    "|:deploy<enter>",
    "_:svc<enter>",
    "\\",
    "?",
    "!",
    ":de",
    "<ctrl-o>web",
    "C",
    "m",
    "<ctrl-n>",
    "<ctrl-d>",
    ":theme<enter>",
];

/// Every view stands on the smallest and the largest screen: the header says where one is, the object under the cursor
/// is named in full, and nothing runs into what is beside it.
#[tokio::test]
async fn every_view_at_the_smallest_and_the_largest_size() {
    let fake = crate::actions::cluster();
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (width, height) in [(60, 15), (300, 100)] {
        for keys in VIEWS {
            let mut ui = crate::actions::ui(&fake, dir.path(), width, height).await;
            std::fs::remove_dir_all(dir.path().join("drafts")).unwrap();
            ui.press(keys).await.unwrap();
            let text = ui.text();
            let lines: Vec<&str> = text.lines().collect();
            let at = format!("{keys} at {width}x{height}:\n{text}");
            // what lies over the views may cover the header and the row under the cursor
            let covered = ["?", "C", "m", "<ctrl-o>web", ":theme<enter>", ":deploy<enter>H<down><enter>"].contains(keys);
            if !lines[0].contains("▸") && !covered {
                wrong.push(format!("no header: {at}"));
            }
            // releases and events are called otherwise than the objects behind them
            let other = covered || keys.contains(":helm") || keys.contains(":events");
            let name = ui.app.view().and_then(|view| view.target()).map(|target| target.name).filter(|_| !other).unwrap_or_default();
            if lines.len() != usize::from(height) || !text.contains(&name) {
                wrong.push(format!("{name} is cut: {at}"));
            }
            // between two columns of a table there is a space, at least
            let heading = lines.iter().find(|line| line.trim_start().starts_with("NAME")).copied().unwrap_or_default();
            for word in ["NAMESTATUS", "NAMEREADY", "READYSTATUS", "STATUSRESTARTS", "RESTARTSAGE", "NAMECLUSTER"] {
                if heading.contains(word) {
                    wrong.push(format!("{word}: {at}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} frames:\n{}", wrong.len(), wrong.join("\n"));
}

fn the_start_is_shown_step_by_step(width: u16, height: u16) {
    use coracle_tui::app::App;
    use coracle_tui::message::Message;
    use coracle_tui::shared::Shared;
    use coracle_tui::{BootStep, boot};
    let options = boot::Options {
        clock: std::sync::Arc::new(coracle_api::clock::ManualClock::new(crate::fake::NOW.parse().unwrap())),
        ..Options::default()
    };
    let mut app = App::new(Shared::new(options, (width, height)).unwrap());
    for (name, state) in [
        ("store", StepState::Started),
        ("store", StepState::Done(std::time::Duration::from_millis(12))),
        ("node agent", StepState::Started),
        ("network", StepState::Failed("no permission".into())),
    ] {
        app.update(Message::Step(BootStep { name: name.into(), state }));
    }
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| app.draw(frame)).unwrap();
    insta::assert_snapshot!(format!("boot@{width}x{height}"), terminal.backend());
}
