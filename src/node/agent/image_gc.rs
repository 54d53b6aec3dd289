//! Removing images that nobody uses when the disk fills up, the longest unused first: from 85 % down to 80 % as the kubelet,
//! but never before less than a few GiB are free, which on a large disk are a small part.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Agent;
use super::pressure::Measured;
use crate::runtime::Image;

const EVERY: Duration = Duration::from_secs(300);
/// Least share of the disk that is free, and the bytes that are enough whatever the share.
const LEAST: (u64, u64) = (15, 3 << 30);
/// What is free afterwards.
const WANTED: (u64, u64) = (20, 4 << 30);
/// An image that was used or came so recently stays.
const YOUNG: Duration = Duration::from_secs(120);

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Bytes.
    Bytes(u64),
    /// Everything that is not in use.
    All,
}

/// Runs until stopped.
pub(crate) async fn run(agent: Arc<Agent>) {
    if !agent.runtime.has_files() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(EVERY).await;
        if let Some(bytes) = excess(Measured::read(&agent.data_dir).disk) {
            collect(&agent, Need::Bytes(bytes)).await;
        }
    }
}

/// Bytes to free on a disk with `available` of `total`.
fn excess((available, total): (u64, u64)) -> Option<u64> {
    let bytes = |(percent, most): (u64, u64)| (total / 100 * percent).min(most);
    (total > 0 && available < bytes(LEAST)).then(|| bytes(WANTED).saturating_sub(available))
}

/// Images to remove, the longest unused first.
fn choose(mut images: Vec<(Image, Option<Timestamp>)>, used: &HashSet<String>, need: Need, now: Timestamp) -> Vec<Image> {
    let young = |last: &Option<Timestamp>| last.is_some_and(|last| now < last + YOUNG);
    // The project's own image is made once.
    let own = |image: &Image| image.tags.iter().any(|tag| crate::images::is_kubia(tag));
    images.retain(|(image, last)| !used.contains(&image.id) && !own(image) && (need == Need::All || !young(last)));
    images.sort_by_key(|(image, last)| (*last, image.id.clone()));
    let mut freed = 0;
    let enough = |freed: u64| matches!(need, Need::Bytes(bytes) if freed >= bytes);
    images
        .into_iter()
        .map(|(image, _)| image)
        .take_while(|image| {
            let go_on = !enough(freed);
            freed += image.size;
            go_on
        })
        .collect()
}

/// Removes unused images; answers with the bytes they had.
pub(crate) async fn collect(agent: &Agent, need: Need) -> u64 {
    if !agent.runtime.owns_images() {
        return 0;
    }
    // Where it is not known what runs, nothing is known to be unused.
    let (Ok(containers), Ok(images)) = (agent.runtime.containers().await, agent.runtime.images().await) else { return 0 };
    let used: HashSet<String> = containers.into_iter().map(|container| container.image_id).collect();
    let known = agent.images_used.lock().clone();
    let listed = images.into_iter().map(|image| (known.get(&image.id).copied(), image)).map(|(last, image)| (image, last)).collect();
    let mut freed = 0;
    for image in choose(listed, &used, need, agent.clock.now()) {
        match agent.runtime.remove_image(&image.id).await {
            Ok(()) => {
                tracing::info!(node = agent.name, image = image.id, bytes = image.size, "an unused image was removed");
                agent.images_used.lock().remove(&image.id);
                freed += image.size;
            }
            Err(error) => tracing::warn!(node = agent.name, image = image.id, %error, "an unused image was not removed"),
        }
    }
    freed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_disk_is_emptied_to_four_fifths() {
        assert_eq!(excess((200, 1_000)), None);
        assert_eq!(excess((140, 1_000)), Some(60));
        assert_eq!(excess((5 << 30, 100 << 30)), None);
        assert_eq!(excess((2 << 30, 100 << 30)), Some(2 << 30));
        assert_eq!(excess((0, 0)), None);
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_used_stays() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let image = |id: &str| Image { id: id.to_owned(), size: 100, ..Image::default() };
        let images =
            || vec![(image("new"), Some(at(990))), (image("b"), Some(at(500))), (image("a"), Some(at(100))), (image("used"), None)];
        let used = HashSet::from(["used".to_owned()]);
        let chosen = |need| choose(images(), &used, need, at(1_000)).into_iter().map(|image| image.id).collect::<Vec<_>>();
        assert_eq!(chosen(Need::Bytes(100)), ["a"]);
        assert_eq!(chosen(Need::Bytes(1_000)), ["a", "b"]);
        assert_eq!(chosen(Need::All), ["a", "b", "new"]);
    }
}
