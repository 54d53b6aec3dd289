//! The lines of logs: merged by time, and which of them are visible and which are found.

use std::borrow::Cow;

use super::sift::is_frame;
use super::store::At;
use super::{LogsView, MARK};
use crate::source::logs::LogLine;

pub(super) struct Kept {
    pub(super) nanos: i64,
    pub(super) at: At,
    pub(super) source: u16,
    /// It belongs to the line before it: a frame of a stack.
    pub(super) frame: bool,
}

impl LogsView {
    pub(super) fn count(&self) -> usize {
        self.visible.as_ref().map_or(self.lines.len(), Vec::len)
    }

    pub(super) fn at(&self, index: usize) -> Option<&Kept> {
        match &self.visible {
            Some(visible) => self.lines.get(*visible.get(index)? as usize),
            None => self.lines.get(index),
        }
    }

    pub(super) fn text_of(&self, line: &Kept) -> Cow<'_, str> {
        self.texts.get(line.at)
    }

    /// Which line stands at a place among the visible ones.
    pub(super) fn real(&self, index: usize) -> Option<usize> {
        match &self.visible {
            Some(visible) => visible.get(index).map(|&index| index as usize),
            None => (index < self.lines.len()).then_some(index),
        }
    }

    /// Where a line stands among the visible ones.
    pub(super) fn shown_at(&self, line: u32) -> usize {
        match &self.visible {
            Some(visible) => visible.partition_point(|&index| index < line),
            None => line as usize,
        }
    }

    /// Everything is visible as it came.
    pub(super) fn is_plain(&self) -> bool {
        self.sift.is_empty() && (!self.folding || self.frames == 0)
    }

    pub(super) fn passes(&self, line: &Kept) -> bool {
        if line.source == MARK {
            return true;
        }
        if self.sift.is_empty() {
            return !(self.folding && line.frame);
        }
        let source = self.sources.get(usize::from(line.source)).map_or("", String::as_str);
        self.sift.passes(&self.text_of(line), source)
    }

    pub(super) fn is_found(&self, line: &Kept) -> bool {
        self.needle.as_ref().is_some_and(|needle| line.source != MARK && needle.is_match(&self.text_of(line)))
    }

    /// How many frames are hidden behind a line.
    pub(super) fn behind(&self, index: usize) -> usize {
        if !self.folding || !self.sift.is_empty() {
            return 0;
        }
        let Some(head) = self.lines.get(index).filter(|line| !line.frame) else { return 0 };
        self.lines[index + 1..].iter().take_while(|line| line.frame && line.source == head.source).count()
    }

    pub(super) fn add(&mut self, source: u16, mut fresh: Vec<LogLine>) {
        if fresh.is_empty() {
            return;
        }
        fresh.sort_by_key(|line| line.nanos);
        let first = fresh[0].nanos;
        let from = self.lines.partition_point(|line| line.nanos <= first);
        let anchor = self.at(self.top).map(|line| (line.nanos, line.source));
        let inserted_before = match anchor.filter(|_| from < self.lines.len()) {
            Some((nanos, _)) => fresh.iter().filter(|line| line.nanos < nanos).count(),
            None => 0,
        };
        let anchor_index = match &self.visible {
            Some(visible) => visible.get(self.top).map(|&index| index as usize),
            None => Some(self.top),
        };
        let mut after = self.lines[..from].iter().rev().take(64).find(|line| line.source == source).is_some_and(|line| line.frame);
        let mut later = self.lines.split_off(from).into_iter().peekable();
        for line in fresh {
            while let Some(old) = later.next_if(|old| old.nanos <= line.nanos) {
                self.lines.push(old);
            }
            let text =
                if line.text.contains('\t') { Cow::Owned(line.text.replace('\t', "    ")) } else { Cow::Borrowed(line.text.as_str()) };
            after = source != MARK && is_frame(&text, after);
            self.frames += usize::from(after);
            self.lines.push(Kept { nanos: line.nanos, at: self.texts.add(&text), source, frame: after });
        }
        self.lines.extend(later);
        if self.visible.is_none() && !self.is_plain() {
            // the first frame of a stack has come
            self.visible = Some((0..u32::try_from(from).unwrap_or(u32::MAX)).collect());
        }
        if let Some(mut visible) = self.visible.take() {
            visible.truncate(visible.partition_point(|&index| (index as usize) < from));
            visible.extend(
                (from..self.lines.len()).filter(|&index| self.passes(&self.lines[index])).filter_map(|index| u32::try_from(index).ok()),
            );
            self.visible = Some(visible);
        }
        if self.needle.is_some() {
            self.found.truncate(self.found.partition_point(|&index| (index as usize) < from));
            self.find_from(from);
        }
        if inserted_before > 0
            && let Some(index) = anchor_index
        {
            let index = index + inserted_before;
            self.top = match &self.visible {
                Some(visible) => visible.partition_point(|&at| (at as usize) < index),
                None => index,
            };
        }
    }

    pub(super) fn refilter(&mut self) {
        self.visible = (!self.is_plain()).then(|| {
            (0..self.lines.len()).filter(|&index| self.passes(&self.lines[index])).filter_map(|index| u32::try_from(index).ok()).collect()
        });
        self.find();
        self.top = self.top.min(self.count().saturating_sub(1));
        self.follow = true;
    }

    pub(super) fn find(&mut self) {
        self.found.clear();
        if self.needle.is_some() {
            self.find_from(0);
        }
    }

    /// Finds what is searched for from a line on.
    pub(super) fn find_from(&mut self, from: usize) {
        let visible = |index: &usize| match &self.visible {
            Some(visible) => u32::try_from(*index).is_ok_and(|index| visible.binary_search(&index).is_ok()),
            None => true,
        };
        let found: Vec<u32> = (from..self.lines.len())
            .filter(|&index| self.is_found(&self.lines[index]))
            .filter(visible)
            .filter_map(|index| u32::try_from(index).ok())
            .collect();
        self.found.extend(found);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::sift::Sift;
    use super::*;
    use crate::kinds::{Kind, Target};
    use crate::source::logs::PodChoice;

    fn view() -> LogsView {
        let kind = Arc::new(Kind { plural: "pods".into(), singular: "pod".into(), ..Kind::default() });
        LogsView::new(Target { kind, namespace: "default".into(), name: "web".into() }, PodChoice::Name("web".into()), None)
    }

    fn line(nanos: i64, text: &str) -> LogLine {
        LogLine { nanos, text: text.into() }
    }

    #[test]
    fn sources_are_merged_by_time() {
        let mut view = view();
        view.add(0, vec![line(1, "a"), line(5, "e")]);
        view.add(1, vec![line(2, "b"), line(5, "f"), line(9, "g")]);
        assert_eq!(view.text(), "a\nb\ne\nf\ng\n");
    }

    #[test]
    fn standing_still_keeps_the_place_while_lines_arrive_before_and_after() {
        let mut view = view();
        view.add(0, (0..100).map(|n| line(n * 10, &n.to_string())).collect());
        view.follow = false;
        view.top = 50;
        view.add(1, vec![line(5, "early"), line(15, "early"), line(2_000, "late")]);
        assert_eq!(view.text_of(view.at(view.top).unwrap()), "50");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_reordered_within_a_source(batches in proptest::collection::vec((0u16..3, proptest::collection::vec(0i64..50, 0..20)), 0..12), filter in "[0-9]?") {
            let mut view = view();
            let mut next = [0i64; 3];
            let mut sent: Vec<Vec<String>> = vec![Vec::new(); 3];
            let mut counter = 0;
            view.sift = Sift::parse(&filter).unwrap();
            view.refilter();
            for (source, gaps) in batches {
                let lines = gaps.into_iter().map(|gap| {
                    next[source as usize] += gap;
                    counter += 1;
                    let text = counter.to_string();
                    sent[source as usize].push(text.clone());
                    line(next[source as usize], &text)
                }).collect();
                view.add(source, lines);
            }
            prop_assert!(view.lines.is_sorted_by_key(|line| line.nanos));
            for source in 0..3u16 {
                let kept: Vec<String> = view.lines.iter().filter(|line| line.source == source).map(|line| view.text_of(line).into_owned()).collect();
                prop_assert_eq!(&kept, &sent[source as usize]);
            }
            let expected = view.lines.iter().filter(|line| view.passes(line)).count();
            prop_assert_eq!(view.count(), expected);
        }
    }
}
