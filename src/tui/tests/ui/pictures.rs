//! The pictures of the README: frames of the program, made with `coracle --snapshot 120x26 --svg --keys …`.

use std::path::Path;

#[test]
fn every_picture_of_the_readme_is_a_frame_of_ours() {
    let rooms = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(rooms.join("../../README.md")).unwrap();
    let named: Vec<&str> = readme.split("src/tui/pictures/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(named.len() >= 3, "{named:?}");
    for name in named {
        let picture = std::fs::read_to_string(rooms.join("pictures").join(name)).unwrap();
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && picture.contains("▸"), "{name}");
    }
}
