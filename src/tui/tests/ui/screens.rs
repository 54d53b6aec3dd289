//! Frames of every view at the two sizes we promise, after the keys that lead there.

use coracle_tui::{Options, StepState};
use rstest::rstest;
use serde_json::json;

use crate::fake::{Fake, deployment};

fn cluster() -> Fake {
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

#[rstest]
#[case("pods", "")]
#[case("pods-all-namespaces", "0")]
#[case("pods-wide-sorted-by-restarts", "<ctrl-w><shift-right><shift-right><shift-right>OO")]
#[case("pods-filtered", "/web<enter>")]
#[case("pods-term", "/status!=Running restarts>3<enter>")]
#[case("pods-faults", "<ctrl-z>")]
#[case("pods-marked", "<space><space>")]
#[case("filter-wrong", "/restarts>x")]
#[case("deployments", ":deploy<enter>")]
#[case("boats", ":boat<enter>")]
#[case("pods-of-deployment", ":deploy<enter><enter>")]
#[case("containers", "/58v<enter><enter>")]
#[case("describe", "/58v<enter>d")]
#[case("yaml", "/58v<enter>y")]
#[case("yaml-searched", "/58v<enter>y/kubia<enter>n")]
#[case("logs", "/58v<enter>l")]
#[case("logs-timestamps-filtered", "/58v<enter>lt/received<enter>")]
#[case("prompt", ":de")]
#[case("prompt-namespaces", ":pods sh")]
#[case("help", "?")]
#[case("activity", ":nonsense<enter>!")]
#[case("scale", ":deploy<enter>s")]
#[case("delete", "<ctrl-d>")]
#[case("delete-namespace", ":ns<enter><ctrl-d>")]
#[case("namespaces-picker", "<ctrl-n>")]
#[case("editor", ":deploy<enter>e")]
#[tokio::test]
async fn frames(#[case] name: &str, #[case] keys: &str) {
    for (width, height) in [(80, 24), (160, 45)] {
        let mut ui = cluster().ui(width, height).await;
        ui.press(keys).await.unwrap();
        insta::assert_snapshot!(format!("{name}@{width}x{height}"), ui.text());
    }
}

#[rstest]
#[case("contexts", ":ctx<enter>")]
#[case("port-forwards", "/58v<enter>F<tab><ctrl-u>0<enter>:pf<enter>")]
#[case("port-forward", "/58v<enter>F")]
#[case("helm", ":helm<enter>")]
#[case("helm-revisions", ":helm<enter><enter>")]
#[case("rollout", ":deploy<enter>H")]
#[case("rollout-diff", ":deploy<enter>H<down><enter>")]
#[case("versions", ":deploy<enter>T")]
#[case("xray", ":deploy<enter>X")]
#[case("xray-folded", ":xray deploy<enter>x")]
#[case("why", "/api<enter>W")]
#[case("timeline", "/58v<enter>:timeline<enter>")]
#[case("pulse", ":pulse<enter>")]
#[case("used-by", ":cm<enter>/settings<enter>u")]
#[case("rules", ":can u:ada<enter>")]
#[case("who-can", ":who-can list pods<enter>")]
#[case("users", ":users<enter>")]
#[case("workloads", ":workloads<enter>")]
#[case("images", ":images<enter>")]
#[case("fleet", ":fleet<enter>")]
#[case("aliases", ":aliases<enter>")]
#[case("themes", ":themes<enter>")]
#[case("theme-picker", ":theme<enter>")]
#[case("keys", ":keys<enter>")]
#[case("drain", ":no<enter>r")]
#[case("columns", "C")]
#[case("finder", "<ctrl-o>web")]
#[case("preview", "/58v<enter>\\")]
#[case("panes", "|:deploy<enter>")]
#[case("panes-below", "_:svc<enter>")]
#[case("drafts", ":drafts<enter>")]
#[case("logs-histogram", "/58v<enter>li")]
#[case("shell-refused", "/58v<enter>s")]
#[case("menu", "/58v<enter>m")]
#[case("editor-completing", ":deploy<enter>e<ctrl-f>image:<enter><end><enter>imageP<tab>")]
#[case("editor-folded", ":deploy<enter>e<ctrl-f>template<enter><alt-f>")]
#[case("editor-mistaken", ":deploy<enter>e<ctrl-f>replicas<enter><end><backspace>two")]
#[case("yaml-folded", ":deploy<enter>yz")]
#[case("rightsize", ":rightsize<enter>")]
#[case("screendumps", ":sd<enter>")]
#[case("benchmarks", ":be<enter>")]
#[case("events", ":events<enter>")]
#[case("tasks", ":tasks<enter>")]
#[case("groups", ":groups<enter>")]
#[case("replicasets", ":deploy<enter>z")]
#[case("set-image", ":deploy<enter>i")]
#[case("manifests", ":watch MANIFESTS<enter>")]
#[case("header-off", "<ctrl-e>")]
#[tokio::test]
async fn frames_of_views(#[case] name: &str, #[case] keys: &str) {
    for (width, height) in [(80, 24), (160, 45)] {
        let dir = tempfile::tempdir().unwrap();
        let fake = crate::actions::cluster();
        let folder = crate::actions::folder(dir.path(), "default");
        let mut ui = crate::actions::ui(&fake, dir.path(), width, height).await;
        if name.starts_with("editor") {
            std::fs::remove_dir_all(dir.path().join("drafts")).unwrap();
        }
        ui.press(&keys.replace("MANIFESTS", &folder.display().to_string())).await.unwrap();
        if name == "manifests" {
            // when it was applied and how long that took is another time another
            let text = ui.until(|text| text.contains("web ") && text.contains(" ms")).await.unwrap();
            assert!(text.contains("Deployment   default/web") && text.contains(" 2/2"), "{text}");
            continue;
        }
        let mut text = ui.text().replace(&dir.path().display().to_string(), "DIR");
        // the system chose the port
        if let Some(listens) = ui.app.shared.forwards.all().first().map(|forward| forward.listens.clone()) {
            text = text.replace(&listens, "127.0.0.1:00000");
        }
        insta::assert_snapshot!(format!("{name}@{width}x{height}"), text);
    }
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
    std::fs::write(dir.path().join("config.toml"), "production = [\"cora*\"]\n").unwrap();
    let fake = cluster();
    let mut ui = fake.ui_with(Options { config_dir: Some(dir.path().to_owned()), ..Options::default() }, 120, 30).await;
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
    let mut ui = fake.ui_with(Options { readonly: true, ..Options::default() }, 120, 30).await;
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
async fn the_start_is_shown_step_by_step() {
    use coracle_tui::app::App;
    use coracle_tui::message::Message;
    use coracle_tui::shared::Shared;
    use coracle_tui::{BootStep, boot};
    let options = boot::Options {
        clock: std::sync::Arc::new(coracle_api::clock::ManualClock::new(crate::fake::NOW.parse().unwrap())),
        ..Options::default()
    };
    let mut app = App::new(Shared::new(options, (80, 12)).unwrap());
    for (name, state) in [
        ("store", StepState::Started),
        ("store", StepState::Done(std::time::Duration::from_millis(12))),
        ("node agent", StepState::Started),
        ("network", StepState::Failed("no permission".into())),
    ] {
        app.update(Message::Step(BootStep { name: name.into(), state }));
    }
    let mut terminal = ratatui::Terminal::new(ratatui::backend::TestBackend::new(80, 12)).unwrap();
    terminal.draw(|frame| app.draw(frame)).unwrap();
    insta::assert_snapshot!("boot@80x12", terminal.backend());
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
