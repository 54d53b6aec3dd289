//! The table of actions. One row drives the keymap, the command prompt, the help and the README's table of keys.

mod keymap;

use std::ops::BitOr;

use crate::actions::{
    access, change, cluster, exec, forward, helm, history, manifests, move_about, object, overview, panes, relations, rollout, session,
    show, text, timeline,
};
use crate::app::App;
use crate::input::Key;
use crate::kinds::Kind;

pub use self::keymap::Keymap;

/// Where an action makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u64);

impl Scopes {
    /// Nowhere.
    pub const NONE: Self = Self(0);
    /// Everywhere.
    pub const ANY: Self = Self(1 << 0);
    /// Tables.
    pub const TABLE: Self = Self(1 << 1);
    /// Where the cursor is on an object.
    pub const OBJECT: Self = Self(1 << 2);
    /// Pods, and containers.
    pub const PODS: Self = Self(1 << 3);
    /// Whatever has a pod template.
    pub const WORKLOADS: Self = Self(1 << 4);
    /// Whatever has a number of replicas.
    pub const SCALABLE: Self = Self(1 << 5);
    /// Nodes.
    pub const NODES: Self = Self(1 << 6);
    /// Namespaces.
    pub const NAMESPACES: Self = Self(1 << 7);
    /// Running text.
    pub const TEXT: Self = Self(1 << 8);
    /// YAML.
    pub const YAML: Self = Self(1 << 9);
    /// Logs.
    pub const LOGS: Self = Self(1 << 10);
    /// The editor.
    pub const EDITOR: Self = Self(1 << 11);
    /// Watched folders.
    pub const MANIFESTS: Self = Self(1 << 12);
    /// A list of anything.
    pub const LIST: Self = Self(1 << 13);
    /// Services.
    pub const SERVICES: Self = Self(1 << 14);
    /// Contexts of the kubeconfig.
    pub const CONTEXTS: Self = Self(1 << 15);
    /// Port-forwards.
    pub const FORWARDS: Self = Self(1 << 16);
    /// Helm releases.
    pub const HELM: Self = Self(1 << 17);
    /// Revisions of a helm release.
    pub const HELM_HISTORY: Self = Self(1 << 18);
    /// Revisions of a rollout.
    pub const REVISIONS: Self = Self(1 << 19);
    /// Earlier versions of objects.
    pub const HISTORY: Self = Self(1 << 20);
    /// Drafts.
    pub const DRAFTS: Self = Self(1 << 21);
    /// Saved files.
    pub const DUMPS: Self = Self(1 << 22);
    /// Aliases.
    pub const ALIASES: Self = Self(1 << 23);
    /// Themes.
    pub const THEMES: Self = Self(1 << 24);
    /// Roles and bindings.
    pub const ROLES: Self = Self(1 << 25);
    /// Users and groups.
    pub const SUBJECTS: Self = Self(1 << 26);
    /// A tree of objects.
    pub const TREE: Self = Self(1 << 27);
    /// The dashboard.
    pub const PULSE: Self = Self(1 << 28);
    /// Kinds that others refer to.
    pub const USED: Self = Self(1 << 29);
    /// A timeline.
    pub const TIMELINE: Self = Self(1 << 30);
    /// What has a rollout with revisions.
    pub const ROLLS: Self = Self(1 << 31);
    /// Deployments.
    pub const DEPLOYMENTS: Self = Self(1 << 32);
    /// Replica sets.
    pub const REPLICASETS: Self = Self(1 << 33);
    /// Cron jobs.
    pub const CRONJOBS: Self = Self(1 << 34);
    /// Secrets.
    pub const SECRETS: Self = Self(1 << 35);
    /// A terminal in a pane.
    pub const TERMINAL: Self = Self(1 << 36);

    /// Where actions on objects of this kind make sense.
    pub fn of_kind(kind: &Kind) -> Self {
        let mut scopes = Self::OBJECT;
        let core = |plural: &str| kind.is("", plural);
        let apps = |plural: &str| kind.is("apps", plural);
        let rolls = apps("deployments") || apps("statefulsets") || apps("daemonsets");
        let rbac = kind.group == "rbac.authorization.k8s.io";
        let used = core("configmaps") || core("secrets") || core("persistentvolumeclaims") || core("serviceaccounts");
        for (holds, scope) in [
            (core("pods"), Self::PODS),
            (core("nodes"), Self::NODES),
            (core("namespaces"), Self::NAMESPACES),
            (core("services"), Self::SERVICES),
            (core("secrets"), Self::SECRETS),
            (used || kind.is("scheduling.k8s.io", "priorityclasses"), Self::USED),
            (kind.is_workload(), Self::WORKLOADS),
            (kind.is_scalable(), Self::SCALABLE),
            (apps("deployments"), Self::DEPLOYMENTS),
            (apps("replicasets"), Self::REPLICASETS),
            (rolls, Self::ROLLS),
            (kind.is("batch", "cronjobs"), Self::CRONJOBS),
            (rbac || core("serviceaccounts"), Self::ROLES),
        ] {
            if holds {
                scopes = scopes | scope;
            }
        }
        scopes
    }

    /// Both.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the two have one in common.
    pub fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Scopes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Under which heading help shows an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Everywhere.
    Everywhere,
    /// On a row.
    Row,
    /// In lists of what is no object: contexts, port-forwards, releases, versions, trees.
    Lists,
    /// In text and logs.
    Text,
    /// In the editor.
    Editor,
    /// In watched folders.
    Manifests,
}

impl Section {
    /// Heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Row => "on a row",
            Self::Lists => "in contexts, port-forwards, releases, revisions, versions, files, trees",
            Self::Text => "in text and logs",
            Self::Editor => "in the editor",
            Self::Manifests => "in watched folders",
        }
    }
}

/// One action.
pub struct Action {
    /// Its name, also a command.
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [&'static str],
    /// Where it makes sense.
    pub scopes: Scopes,
    /// Heading in help.
    pub section: Section,
    /// It writes to the cluster: gone when read-only.
    pub writes: bool,
    /// What it does, in a few words.
    pub doc: &'static str,
    /// Does it.
    pub run: fn(&mut App),
}

const fn row(
    name: &'static str,
    keys: &'static [&'static str],
    scopes: Scopes,
    section: Section,
    doc: &'static str,
    run: fn(&mut App),
) -> Action {
    Action { name, keys, scopes, section, writes: false, doc, run }
}

const fn write(
    name: &'static str,
    keys: &'static [&'static str],
    scopes: Scopes,
    section: Section,
    doc: &'static str,
    run: fn(&mut App),
) -> Action {
    Action { name, keys, scopes, section, writes: true, doc, run }
}

use Section::{Editor, Everywhere, Lists, Manifests, Row, Text};

/// Every action. Where a key has several, the first whose scope fits is meant: the particular stand before the general.
pub static ACTIONS: &[Action] = &[
    // watched folders
    row("manifest-open", &["enter"], Scopes::MANIFESTS, Manifests, "open the file in the editor, or the object", manifests::open),
    row("manifest-edit", &["e"], Scopes::MANIFESTS, Manifests, "edit the file", manifests::edit),
    row("manifest-view", &["y"], Scopes::MANIFESTS, Manifests, "YAML of the object as it is", manifests::yaml),
    row("manifest-pause", &["space"], Scopes::MANIFESTS, Manifests, "pause the file, or go on", manifests::pause),
    write("manifest-apply", &["a"], Scopes::MANIFESTS, Manifests, "apply the file again now", manifests::apply),
    write("manifest-delete", &["D", "d"], Scopes::MANIFESTS, Manifests, "delete what the document made", manifests::delete),
    write("manifest-recreate", &["r"], Scopes::MANIFESTS, Manifests, "delete what it made and make it again", manifests::recreate),
    // contexts
    row("use-context", &["enter"], Scopes::CONTEXTS, Lists, "go to this cluster", session::use_context),
    row("rename-context", &["r"], Scopes::CONTEXTS, Lists, "rename the context in the kubeconfig", session::rename_context),
    row("delete-context", &["ctrl-d"], Scopes::CONTEXTS, Lists, "take the context out of the kubeconfig", session::delete_context),
    // port-forwards
    row("stop-forward", &["ctrl-d"], Scopes::FORWARDS, Lists, "stop the port-forward", forward::stop),
    row("start-forward", &["enter"], Scopes::FORWARDS, Lists, "start it again, or stop it", forward::toggle),
    row("bench-forward", &["b"], Scopes::FORWARDS, Lists, "benchmark what is behind it", forward::bench_forward),
    // helm
    row("helm-history", &["enter", "r"], Scopes::HELM, Lists, "revisions of the release", helm::history),
    row("helm-values", &["v"], Scopes::HELM.or(Scopes::HELM_HISTORY), Lists, "values of the release", helm::values),
    row("helm-manifest", &["y"], Scopes::HELM.or(Scopes::HELM_HISTORY), Lists, "manifest of the release", helm::manifest),
    row("helm-notes", &["d"], Scopes::HELM.or(Scopes::HELM_HISTORY), Lists, "notes of the release", helm::notes),
    row("helm-revision", &["enter"], Scopes::HELM_HISTORY, Lists, "values of this revision", helm::values),
    write("helm-rollback", &["r"], Scopes::HELM_HISTORY, Lists, "roll back to this revision", helm::rollback),
    // rollouts and history
    row("revision-diff", &["enter"], Scopes::REVISIONS, Lists, "difference to the current revision", rollout::diff_revision),
    write("rollback", &["r", "ctrl-l"], Scopes::REVISIONS, Lists, "roll back to this revision", rollout::rollback),
    write("pause-rollout", &["P"], Scopes::REVISIONS, Lists, "pause the rollout, or go on", rollout::pause),
    row("version-diff", &["enter"], Scopes::HISTORY, Lists, "difference to the version before", history::diff_version),
    row("version-yaml", &["y"], Scopes::HISTORY, Lists, "YAML of this version", history::yaml_version),
    write("restore", &["r"], Scopes::HISTORY, Lists, "make the object as it was then", history::restore),
    row("version-table", &["t"], Scopes::HISTORY, Lists, "the whole table as it was then", history::table_then),
    // lists of this session
    row("draft-edit", &["enter", "e"], Scopes::DRAFTS, Lists, "go on with this draft", session::open_draft),
    row("draft-forget", &["ctrl-d"], Scopes::DRAFTS, Lists, "forget this draft", session::forget_draft),
    row("dump-open", &["enter", "y"], Scopes::DUMPS, Lists, "read the file", session::open_dump),
    row("dump-delete", &["ctrl-d"], Scopes::DUMPS, Lists, "delete the file", session::delete_dump),
    row("alias-open", &["enter"], Scopes::ALIASES, Lists, "go there", session::open_alias),
    row("use-theme", &["enter"], Scopes::THEMES, Lists, "use this theme", session::use_theme),
    row("rules", &["enter"], Scopes::ROLES, Lists, "the rules it grants", access::rules),
    row("subject-rules", &["enter"], Scopes::SUBJECTS, Lists, "what the subject may do", access::subject_rules),
    row("fold", &["space"], Scopes::TREE, Lists, "fold, or unfold", relations::fold),
    row("fold-all", &["x"], Scopes::TREE, Lists, "fold everything, or unfold it", relations::fold_all),
    row("tree-open", &["enter"], Scopes::TREE, Lists, "go to it", relations::open),
    row("pulse-open", &["enter"], Scopes::PULSE, Lists, "go to the kind", overview::open_pulse),
    row("pulse-next", &["tab"], Scopes::PULSE, Lists, "the next chart", overview::next_pulse),
    row("timeline-zoom", &["z"], Scopes::TIMELINE, Lists, "less of the past, or all of it", timeline::zoom),
    // nodes and namespaces
    write("cordon", &["c"], Scopes::NODES, Row, "cordon the node: no new pods on it", cluster::cordon),
    write("uncordon", &["u"], Scopes::NODES, Row, "uncordon the node", cluster::uncordon),
    write("drain", &["r"], Scopes::NODES, Row, "drain the node", cluster::drain),
    write("node-shell", &["s"], Scopes::NODES, Row, "shell on the node, in a pod of its own", exec::node_shell),
    row("use-namespace", &["u"], Scopes::NAMESPACES, Row, "show this namespace from now on", cluster::use_namespace),
    // on an object
    row("drill-in", &["enter"], Scopes::LIST, Row, "drill in", object::enter),
    row("describe", &["d"], Scopes::OBJECT, Row, "describe", object::describe),
    row("yaml", &["y"], Scopes::OBJECT, Row, "YAML", object::yaml),
    write("edit", &["e"], Scopes::OBJECT, Row, "edit in place", object::edit),
    write("edit-outside", &["E"], Scopes::OBJECT, Row, "edit in $EDITOR", object::edit_outside),
    row("why", &["W"], Scopes::OBJECT, Row, "why it is as it is", relations::why),
    row("xray", &["X"], Scopes::OBJECT, Row, "tree of what it owns and uses", relations::xray),
    row("used-by", &["u"], Scopes::USED, Row, "what uses it", relations::used_by),
    row("history", &["T"], Scopes::OBJECT, Row, "earlier versions: time travel", history::of_object),
    row("object-events", &["v"], Scopes::OBJECT, Row, "events of this object", object::events),
    row("logs", &["l"], Scopes::PODS.or(Scopes::WORKLOADS).or(Scopes::SERVICES), Row, "logs", object::logs),
    row("previous-logs", &["p"], Scopes::PODS.or(Scopes::WORKLOADS), Row, "logs of the previous instance", object::previous_logs),
    write("shell", &["s"], Scopes::PODS, Row, "shell in a container", exec::shell),
    write("attach", &["a"], Scopes::PODS, Row, "attach to a container", exec::attach),
    write("debug", &["D"], Scopes::PODS, Row, "debug container beside it", exec::debug),
    write("transfer", &["t"], Scopes::PODS, Row, "copy files from it, or to it", exec::transfer),
    write("sanitize", &["z"], Scopes::PODS, Row, "delete every pod that has ended", object::sanitize),
    row("port-forward", &["F"], Scopes::PODS.or(Scopes::SERVICES).or(Scopes::WORKLOADS), Row, "port-forward", forward::ask),
    row("show-forwards", &["f"], Scopes::PODS.or(Scopes::SERVICES).or(Scopes::WORKLOADS), Row, "its port-forwards", forward::show),
    row("bench", &["b"], Scopes::SERVICES, Row, "benchmark the service", forward::bench),
    row("rollout", &["H"], Scopes::ROLLS, Row, "the rollout: revisions and progress", rollout::show),
    row("replicasets", &["z"], Scopes::DEPLOYMENTS, Row, "its replica sets", rollout::replicasets),
    write("rollback-to", &["ctrl-l"], Scopes::REPLICASETS, Row, "roll its deployment back to it", rollout::rollback_replicaset),
    write("trigger", &["t"], Scopes::CRONJOBS, Row, "start a job now", rollout::trigger),
    row("timeline", &["t", "ctrl-t"], Scopes::OBJECT, Row, "what happened to it, in order", timeline::show),
    write("suspend", &["s"], Scopes::CRONJOBS, Row, "suspend, or go on", rollout::suspend),
    write("scale", &["s"], Scopes::SCALABLE, Row, "scale", object::scale),
    write("restart", &["r"], Scopes::WORKLOADS, Row, "restart the rollout", object::restart),
    write("set-image", &["i"], Scopes::WORKLOADS.or(Scopes::PODS), Row, "set the image of a container", change::set_image),
    row("decode-secret", &["x"], Scopes::SECRETS, Row, "decode the secret", object::decode),
    write("label", &["L"], Scopes::OBJECT, Row, "set labels", change::label),
    write("delete", &["ctrl-d"], Scopes::OBJECT, Row, "delete (asks)", object::delete),
    write("kill", &["ctrl-k"], Scopes::OBJECT, Row, "kill now (asks once)", object::kill),
    row("owner", &["J"], Scopes::OBJECT, Row, "go to the owner", object::owner),
    row("node", &["o"], Scopes::PODS, Row, "go to the node", object::node),
    row("copy-name", &["c"], Scopes::LIST, Row, "copy the name", object::copy_name),
    row("copy-namespace", &["n"], Scopes::OBJECT, Row, "copy the namespace", object::copy_namespace),
    row("warp", &["w"], Scopes::OBJECT, Row, "show the row's namespace", object::warp),
    row("mark", &["space"], Scopes::TABLE, Row, "mark, or take the mark away", show::mark),
    row("mark-range", &["ctrl-space"], Scopes::TABLE, Row, "mark everything from the last mark to here", show::mark_range),
    row("clear-marks", &["ctrl-\\"], Scopes::TABLE, Row, "take all marks away", show::clear_marks),
    row("menu", &["m"], Scopes::LIST.or(Scopes::MANIFESTS), Everywhere, "which keys there are here", move_about::menu),
    // tables
    row("sort-left", &["shift-left"], Scopes::TABLE, Everywhere, "pick the column to the left", show::pick_left),
    row("sort-right", &["shift-right"], Scopes::TABLE, Everywhere, "pick the column to the right", show::pick_right),
    row("sort", &["O"], Scopes::TABLE, Everywhere, "sort by the picked column, again: backwards", show::sort),
    row("sort-name", &["N"], Scopes::TABLE, Everywhere, "sort by name", show::sort_name),
    row("sort-age", &["A"], Scopes::TABLE, Everywhere, "sort by age", show::sort_age),
    row("sort-status", &["S"], Scopes::TABLE, Everywhere, "sort by status", show::sort_status),
    row("sort-namespace", &["P"], Scopes::TABLE, Everywhere, "sort by namespace", show::sort_namespace),
    row("faults", &["ctrl-z"], Scopes::TABLE, Everywhere, "only what is not well", show::faults),
    row("wide", &["ctrl-w"], Scopes::TABLE, Everywhere, "wide columns", show::wide),
    row("columns", &["C"], Scopes::TABLE, Everywhere, "choose columns", show::columns),
    row("save", &["ctrl-s"], Scopes::TABLE.or(Scopes::TEXT), Everywhere, "save what is shown to a file", session::save),
    row("clear-filter", &["ctrl-u", "ctrl-q"], Scopes::LIST.or(Scopes::TEXT), Everywhere, "clear the filter", show::clear_filter),
    // text and logs
    row("next-match", &["n"], Scopes::TEXT, Text, "next match", text::next_match),
    row("previous-match", &["N"], Scopes::TEXT, Text, "previous match", text::previous_match),
    row("managed-fields", &["m"], Scopes::YAML, Text, "managed fields", text::managed_fields),
    row("decode", &["x"], Scopes::YAML, Text, "decode secrets", text::decode),
    row("copy-text", &["c"], Scopes::TEXT, Text, "copy everything", text::copy),
    write("edit-this", &["e"], Scopes::TEXT, Text, "edit this object", text::edit),
    row("follow", &["s"], Scopes::LOGS, Text, "follow, or stand still", text::follow),
    row("timestamps", &["t"], Scopes::LOGS, Text, "timestamps", text::timestamps),
    row("all-containers", &["a"], Scopes::LOGS, Text, "all containers, or the one", text::all_containers),
    row("histogram", &["i"], Scopes::LOGS, Text, "histogram of the lines over time", text::histogram),
    row("wrap", &["w"], Scopes::LOGS.or(Scopes::TEXT), Text, "wrap long lines", text::wrap),
    row("column-lock", &["L"], Scopes::LOGS, Text, "sources stay while the text moves", text::lock),
    row("log-previous", &["p"], Scopes::LOGS, Text, "the instance before, or this one", text::previous),
    row("log-fold", &["z"], Scopes::LOGS, Text, "fold stack traces, or show them", text::fold_traces),
    row("yaml-fold", &["z"], Scopes::YAML, Text, "fold deeper blocks: two levels, one, none", text::fold_yaml),
    row("log-search", &["ctrl-f"], Scopes::LOGS, Text, "search without hiding lines", text::search),
    row("log-mark", &["m"], Scopes::LOGS, Text, "draw a line here", text::mark),
    row("log-tail", &["0"], Scopes::LOGS, Text, "the last 500 lines", text::tail),
    row("log-beginning", &["1"], Scopes::LOGS, Text, "from the beginning", text::beginning),
    row("log-1m", &["2"], Scopes::LOGS, Text, "the last minute", text::one_minute),
    row("log-5m", &["3"], Scopes::LOGS, Text, "the last 5 minutes", text::five_minutes),
    row("log-15m", &["4"], Scopes::LOGS, Text, "the last 15 minutes", text::fifteen_minutes),
    row("log-30m", &["5"], Scopes::LOGS, Text, "the last 30 minutes", text::thirty_minutes),
    row("log-1h", &["6"], Scopes::LOGS, Text, "the last hour", text::one_hour),
    row("clear", &["C", "ctrl-l"], Scopes::LOGS, Text, "forget the lines so far", text::clear),
    // editor
    write("apply", &["ctrl-s"], Scopes::EDITOR, Editor, "show the difference, then apply", text::apply),
    row("drop-edit", &["ctrl-q"], Scopes::EDITOR, Editor, "leave and forget the draft", text::drop_edit),
    row("edit-complete", &["ctrl-space"], Scopes::EDITOR, Editor, "what may stand here: fields, values, names", text::complete),
    row("edit-fold", &["alt-f"], Scopes::EDITOR, Editor, "fold the block, or unfold it", text::fold_block),
    row("edit-indent", &["alt-right"], Scopes::EDITOR, Editor, "move lines to the right", text::indent),
    row("edit-outdent", &["alt-left", "shift-tab"], Scopes::EDITOR, Editor, "move lines to the left", text::outdent),
    row("edit-comment", &["ctrl-_", "ctrl-/"], Scopes::EDITOR, Editor, "make a comment of lines, or take it away", text::comment),
    row("edit-search", &["ctrl-f"], Scopes::EDITOR, Editor, "search", text::search_text),
    row("edit-next", &["ctrl-n"], Scopes::EDITOR, Editor, "next match", text::next_in_text),
    row("edit-undo", &["ctrl-z"], Scopes::EDITOR, Editor, "take back the last change of the text", text::take_back),
    row("edit-redo", &["ctrl-y"], Scopes::EDITOR, Editor, "make it again", text::make_again),
    // a terminal in a pane
    row("type-again", &["enter", "i"], Scopes::TERMINAL, Text, "keys go to the program again (ctrl-] gives them back)", exec::type_again),
    // panes
    row("split-right", &["|"], Scopes::ANY, Everywhere, "split: a pane to the right", panes::split_right),
    row("split-below", &["_"], Scopes::ANY, Everywhere, "split: a pane below", panes::split_below),
    row("next-pane", &["tab"], Scopes::ANY, Everywhere, "to the next pane", panes::next),
    row("close-pane", &["ctrl-x"], Scopes::ANY, Everywhere, "close the pane", panes::close),
    row("zoom", &["Z", "f"], Scopes::ANY, Everywhere, "this pane alone, or all", panes::zoom),
    row("preview", &["\\"], Scopes::ANY, Everywhere, "preview of the row: summary, events, log", panes::preview),
    // everywhere
    row("command", &[":"], Scopes::ANY, Everywhere, "command", move_about::command),
    row("filter", &["/"], Scopes::ANY, Everywhere, "filter, or search in text", move_about::filter),
    row("find", &["ctrl-o"], Scopes::ANY, Everywhere, "find anything, of any kind, anywhere", move_about::find),
    row("help", &["?"], Scopes::ANY, Everywhere, "help for this view", move_about::help),
    row("back", &["esc", "q"], Scopes::ANY, Everywhere, "back", move_about::back),
    row("last-view", &["-"], Scopes::ANY, Everywhere, "last view", move_about::last_view),
    row("history-back", &["["], Scopes::ANY, Everywhere, "back in the history of commands", move_about::history_back),
    row("history-forward", &["]"], Scopes::ANY, Everywhere, "forward in the history of commands", move_about::history_forward),
    row("activity", &["!"], Scopes::ANY, Everywhere, "everything said and done in this session", move_about::activity),
    write("undo", &["U"], Scopes::ANY, Everywhere, "undo the last write", history::undo),
    write("redo", &["R"], Scopes::ANY, Everywhere, "do it again", history::redo),
    row("aliases", &["ctrl-a"], Scopes::ANY, Everywhere, "every kind and what it is called", session::aliases),
    row("header", &["ctrl-e"], Scopes::ANY, Everywhere, "header on or off", show::header),
    row("pick-namespaces", &["ctrl-n"], Scopes::ANY, Everywhere, "pick namespaces", cluster::pick_namespaces),
    row("all-namespaces", &["0"], Scopes::LIST, Everywhere, "all namespaces", cluster::all_namespaces),
    row("events", &[], Scopes::ANY, Everywhere, "events", cluster::events),
    row("manifests", &[], Scopes::ANY, Everywhere, "the watched folders", manifests::show),
    row("redraw", &["ctrl-r"], Scopes::ANY, Everywhere, "draw everything again", move_about::redraw),
    row("up", &["up", "k"], Scopes::ANY, Everywhere, "up", move_about::up),
    row("down", &["down", "j"], Scopes::ANY, Everywhere, "down", move_about::down),
    row("left", &["left", "h"], Scopes::ANY, Everywhere, "left", move_about::left),
    row("right", &["right"], Scopes::ANY, Everywhere, "right", move_about::right),
    row("page-up", &["pageup", "ctrl-b"], Scopes::ANY, Everywhere, "page up", move_about::page_up),
    row("page-down", &["pagedown", "ctrl-f"], Scopes::ANY, Everywhere, "page down", move_about::page_down),
    row("top", &["home", "g"], Scopes::ANY, Everywhere, "to the beginning", move_about::top),
    row("bottom", &["end", "G"], Scopes::ANY, Everywhere, "to the end", move_about::bottom),
    row("quit", &["ctrl-c"], Scopes::ANY, Everywhere, "quit", move_about::quit),
];

/// The action of this name.
pub fn by_name(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// What an action asks of the server: verb and subresource. None if it asks nothing that is not asked anyway.
pub fn needs(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "delete" | "kill" | "sanitize" => ("delete", ""),
        "scale" => ("patch", "scale"),
        "edit" | "edit-this" | "edit-outside" | "set-image" | "restart" | "cordon" | "uncordon" | "label" | "pause-rollout" | "suspend" => {
            ("patch", "")
        }
        "shell" => ("create", "exec"),
        "attach" => ("create", "attach"),
        "debug" => ("patch", "ephemeralcontainers"),
        "logs" | "previous-logs" => ("get", "log"),
        _ => return None,
    })
}

/// The table of keys for the README, in Markdown.
pub fn key_table() -> String {
    let mut text = String::new();
    for section in [Everywhere, Row, Lists, Text, Editor, Manifests] {
        text.push_str(&format!("| {} | |\n|---|---|\n", section.title()));
        for action in ACTIONS.iter().filter(|action| action.section == section && !action.keys.is_empty()) {
            let keys: Vec<String> = action
                .keys
                .iter()
                .filter_map(|key| Key::parse(key))
                .map(|key| format!("`{}`", key.to_string().replace('|', "\\|")))
                .collect();
            text.push_str(&format!("| {} | {} |\n", keys.join(" "), action.doc));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_are_unique_keys_are_keys_and_no_action_is_hidden_by_another() {
        let keymap = Keymap::default();
        for (index, action) in ACTIONS.iter().enumerate() {
            assert!(ACTIONS[..index].iter().all(|other| other.name != action.name), "{} twice", action.name);
            for key in action.keys {
                let parsed = Key::parse(key).unwrap_or_else(|| panic!("{key} of {} is no key", action.name));
                let found = keymap.action(parsed, action.scopes).unwrap();
                let hidden = found.name != action.name && found.scopes.meet(Scopes::ANY);
                assert!(!hidden, "{key}: {} is hidden by {}", action.name, found.name);
            }
        }
    }

    #[test]
    fn keys_that_only_differ_by_place_do_not_collide_in_a_view() {
        let keymap = Keymap::default();
        let pods = Scopes::TABLE | Scopes::OBJECT | Scopes::LIST | Scopes::PODS;
        let name = |key: &str, scopes| keymap.action(Key::parse(key).unwrap(), scopes).map(|action| action.name);
        assert_eq!(name("c", pods), Some("copy-name"));
        assert_eq!(name("c", Scopes::TABLE | Scopes::OBJECT | Scopes::NODES), Some("cordon"));
        assert_eq!(name("n", Scopes::TEXT), Some("next-match"));
        assert_eq!(name("0", Scopes::LOGS | Scopes::TEXT), Some("log-tail"));
        assert_eq!(name("0", pods), Some("all-namespaces"));
    }
}
