//! Whatever is pressed, at whatever size, the UI draws and does not fall over.

use coracle_tui::action::ACTIONS;
use coracle_tui::input::{Input, Key, MouseKind};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    Key(Key),
    Resize(u16, u16),
    Mouse(MouseKind, u16, u16),
    Paste(String),
    Come(u8),
    Go,
    Rest,
}

/// Every key of every action, what is typed into prompts, and keys that mean nothing.
fn keys() -> Vec<Key> {
    let named = ACTIONS.iter().flat_map(|action| action.keys.iter().copied());
    let typed = ["enter", "esc", "enter", "esc", "backspace", "del", "ctrl-]", "=", "ä", "船", "f5", "1", "ctrl-k", "alt-x"];
    named.chain(typed).filter(|key| *key != "ctrl-c").filter_map(Key::parse).collect()
}

fn commands() -> Vec<&'static str> {
    vec![
        ":pulse",
        ":xray deploy",
        ":helm",
        ":ctx",
        ":pf",
        ":can u:ada",
        ":workloads",
        ":keys",
        ":drafts",
        ":history deploy",
        ":deploy",
        ":svc",
        ":no",
        ":cm",
        ":themes",
        ":users",
    ]
}

fn step() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        30 => proptest::sample::select(keys()).prop_map(|key| vec![Step::Key(key)]),
        4 => proptest::sample::select(commands()).prop_map(|command| {
            let typed = command.chars().map(|c| Step::Key(Key::parse(&c.to_string().replace(' ', "space")).unwrap()));
            typed.chain([Step::Key(Key::parse("enter").unwrap()), Step::Rest]).collect()
        }),
        2 => (1u16..120, 1u16..40).prop_map(|(width, height)| vec![Step::Resize(width, height)]),
        2 => (0usize..3, 0u16..120, 0u16..40).prop_map(|(kind, x, y)| vec![Step::Mouse([MouseKind::Click, MouseKind::ScrollUp, MouseKind::ScrollDown][kind], x, y)]),
        1 => "\\PC{0,8}".prop_map(|text| vec![Step::Paste(text)]),
        1 => any::<u8>().prop_map(|number| vec![Step::Come(number)]),
        1 => Just(vec![Step::Go]),
        6 => Just(vec![Step::Rest]),
    ]
}

/// Sequences in one run; a soak sets more.
const SEQUENCES: u32 = 2_000;

#[test]
fn no_keys_break_it() {
    let cases = std::env::var("CORACLE_TEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(SEQUENCES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    // the clock jumps when there is nothing to do but wait: no sequence waits for anything
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runner
        .run(&proptest::collection::vec(step(), 5..30), |steps| {
            runtime.block_on(async {
                let fake = crate::actions::cluster();
                let dir = tempfile::tempdir().unwrap();
                let mut ui = crate::actions::ui(&fake, dir.path(), 60, 15).await;
                for step in steps.into_iter().flatten() {
                    match step {
                        Step::Key(key) => ui.key(key),
                        Step::Resize(width, height) => ui.input(Input::Resize(width, height)),
                        Step::Mouse(kind, x, y) => ui.input(Input::Mouse(kind, x, y)),
                        Step::Paste(text) => ui.input(Input::Paste(text)),
                        Step::Come(number) => fake.pod("default", &format!("new-{number}"), "Pending", 0),
                        Step::Go => fake.remove("pods/default/web-58vhc"),
                        Step::Rest => ui.rest().await,
                    }
                    ui.draw();
                }
            });
            Ok(())
        })
        .unwrap();
}
