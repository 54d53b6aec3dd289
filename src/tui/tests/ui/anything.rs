//! Whatever is pressed, at whatever size, the UI draws and does not fall over.

use coracle_tui::input::{Input, Key, MouseKind};

use crate::fake::{Fake, deployment};

const KEYS: &[&str] = &[
    "j",
    "k",
    "down",
    "up",
    "G",
    "g",
    "pagedown",
    "pageup",
    "enter",
    "esc",
    "tab",
    "space",
    "d",
    "y",
    "l",
    "e",
    "s",
    "v",
    "w",
    "t",
    "m",
    "0",
    "1",
    "-",
    "[",
    "]",
    ":",
    "/",
    "?",
    "!",
    "n",
    "N",
    "O",
    "A",
    "shift-left",
    "shift-right",
    "ctrl-z",
    "ctrl-w",
    "ctrl-n",
    "ctrl-d",
    "backspace",
    "del",
    "left",
    "right",
    "home",
    "end",
    "a",
    "o",
    "p",
    "=",
    ">",
    "ctrl-s",
    "ctrl-f",
    "ctrl-u",
    "ctrl-r",
    "x",
    "h",
    "ctrl-k",
    "r",
    "i",
    "J",
    "c",
    "ä",
];

#[tokio::test]
async fn no_keys_break_it() {
    for seed in 1..=12u64 {
        let fake = Fake::new();
        for name in ["web-1", "web-2", "api-1"] {
            fake.pod("default", name, "Running", 1);
        }
        fake.put(deployment("web", 2));
        fake.log("web-1", "2026-11-21T11:42:05Z one\n2026-11-21T11:42:06Z two\n");
        let mut ui = fake.ui(80, 24).await;
        let mut random = seed;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % below
        };
        for step in 0..160 {
            match next(20) {
                0 => ui.input(Input::Resize(u16::try_from(next(170)).unwrap(), u16::try_from(next(50)).unwrap())),
                1 => ui.input(Input::Mouse(
                    [MouseKind::Click, MouseKind::ScrollDown, MouseKind::ScrollUp][next(3)],
                    5,
                    u16::try_from(next(30)).unwrap(),
                )),
                2 => ui.input(Input::Paste("pasted\ntext".into())),
                3 => fake.pod("default", &format!("new-{step}"), "Pending", 0),
                4 => fake.remove("pods/default/web-1"),
                _ => ui.key(Key::parse(KEYS[next(KEYS.len())]).unwrap()),
            }
            if step % 16 == 0 {
                ui.settle().await;
            }
            ui.draw();
        }
    }
}
