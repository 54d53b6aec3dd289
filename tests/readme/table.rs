//! The table of commands in the README.

use std::collections::BTreeSet;

use crate::harness::{Need, Place, story};
use crate::typing::{goes_on, read, succeeds};
use crate::{Newcomer, looks};

/// Commands as the table has them, what is typed of each, in an order that makes sense, and words that it says.
const TYPED: &[(&str, &str, &str)] = &[
    ("doctor [--store]", "coracle doctor", "ok "),
    ("config", "coracle config", "# "),
    ("man [DIR]", "coracle man", ".TH coracle"),
    ("man [DIR]", "coracle man pages && ls pages", "coracle-apply.1"),
    ("completion SHELL", "coracle completion bash", "complete -F"),
    ("up [--detach] [--from FILE]", "coracle up --detach --runtime native --nodes 2", "ready in "),
    ("status [--verbose]", "coracle status", "up "),
    ("status [--verbose]", "coracle status --verbose", "ACTOR"),
    ("kubeconfig [--merge]", "coracle kubeconfig", "apiVersion: v1"),
    ("kubeconfig [--merge]", "coracle kubeconfig --merge", "coracle"),
    ("get", "coracle get nodes", " Ready "),
    ("describe", "coracle describe node node-1", "Conditions:"),
    ("create", "coracle create configmap words --from-literal a=b", "configmap/words created"),
    ("apply -f DIR [--prune] [--watch]", "coracle apply -f samples/02-deployment --prune", "deployment.apps/kubia created"),
    ("diff -f DIR", "mkdir -p changed; sed 's/replicas: 3/replicas: 4/' samples/02-deployment/deployment.yaml > changed/it.yaml", ""),
    ("diff -f DIR", "coracle diff -f changed; test $? = 1", "replicas: 4"),
    ("rollout", "coracle rollout status deployment/kubia", "successfully rolled out"),
    ("export [DIR]", "coracle export", "kind: Deployment"),
    ("export [DIR]", "coracle export exported", "manifests written to exported"),
    ("[--watch DIR]", "coracle --watch samples/02-deployment", "kubia-"),
    ("tui [VIEW] [--context NAME] [--kubeconfig FILE]", "coracle tui pods --context coracle --snapshot 120x30", "kubia-"),
    ("service NAME", "coracle service kubia", "cluster IP"),
    ("scale", "coracle scale deployment/kubia --replicas 1", "deployment.apps/kubia scaled"),
    ("expose", "coracle expose deployment kubia --name again --port 80", "service/again exposed"),
    ("run", "coracle run guest --image coracle.local/kubia:1.1 --port 8080", "pod/guest created"),
    ("wait", "coracle wait pod/guest --for=condition=Ready --timeout=60s", "condition met"),
    ("exec", "coracle exec guest -- hostname", "guest"),
    ("logs", "coracle logs guest", "Listening on port 8080"),
    (
        "run",
        "coracle run ticks --image coracle.local/kubia:1.1 --command -- sh -c 'trap exit TERM; while :; do echo tick; sleep 1; done'",
        "pod/ticks created",
    ),
    ("wait", "coracle wait pod/ticks --for=condition=Ready --timeout=60s", "condition met"),
    ("attach", "coracle attach ticks &", "tick"),
    ("cp", "coracle cp guest:/etc/hostname theirs && cat theirs", "guest"),
    ("port-forward", "coracle port-forward pod/guest 8089:8080 &", "Forwarding from 127.0.0.1:8089"),
    ("port-forward", "curl 127.0.0.1:8089", "this is guest."),
    ("top", "coracle top pods", "CPU(cores)"),
    ("events", "coracle events", "Scheduled"),
    ("explain", "coracle explain pods.spec", "FIELDS:"),
    ("api-resources", "coracle api-resources", "SHORTNAMES"),
    ("edit", "EDITOR=true coracle edit configmap words", "no changes made"),
    ("cordon", "coracle cordon node-2", "node/node-2 cordoned"),
    ("drain", "coracle drain node-2 --ignore-daemonsets --force", "node/node-2 drained"),
    ("uncordon", "coracle uncordon node-2", "node/node-2 uncordoned"),
    ("node stop|start NAME", "coracle node stop node-2", "stopped node-2"),
    ("node stop|start NAME", "coracle node start node-2", "started node-2"),
    ("image load|list|rm|build", "coracle image build tools:1 --from-host /usr/bin/env", "built tools:1"),
    ("image load|list|rm|build", "coracle image list", "tools:1"),
    ("image load|list|rm|build", "coracle image rm tools:1", "removed tools:1"),
    ("snapshot save|restore FILE", "coracle snapshot save \"$PWD/state\"", "saved "),
    ("delete", "coracle delete configmap words", "configmap \"words\" deleted"),
    ("down", "coracle down", "stopped in "),
    ("doctor [--store]", "coracle doctor --store", "ok revisions"),
    ("snapshot save|restore FILE", "coracle snapshot restore \"$PWD/state\" --yes", "restored "),
    ("reset", "coracle reset --yes", "deleted "),
    ("up [--detach] [--from FILE]", "coracle up --detach --runtime simulated --from \"$PWD/state\"", "ready in "),
    ("get", "coracle get configmap words", "words"),
    ("down", "coracle down", "stopped in "),
];

/// The commands of the table's first column, without the program's name.
fn table() -> BTreeSet<String> {
    let readme = read("README.md");
    let (_, rows) = readme.split_once("| command | does |\n|---|---|\n").unwrap();
    let rows = rows.lines().take_while(|line| line.starts_with('|'));
    let cell = |row: &str| row.trim_start_matches('|').split(" | ").next().unwrap_or_default().replace("\\|", "|");
    let cells: Vec<String> = rows.map(cell).collect();
    let words = |cell: &String| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    cells.iter().flat_map(words).map(|word| word.trim_start_matches("coracle ").to_owned()).collect()
}

#[test]
fn the_table_has_the_commands_that_are_typed_here() {
    assert_eq!(table(), TYPED.iter().map(|(command, ..)| (*command).to_owned()).collect());
}

#[test]
fn every_command_of_the_table_works() {
    story("the table of commands", &[Need::Native, Need::Kubectl], || {
        let newcomer = Newcomer(Place::new());
        let mut going_on = Vec::new();
        for (_, line, says) in TYPED {
            match line.strip_suffix(" &") {
                None if line.starts_with("coracle --watch") => looks(&newcomer.0, line, says, false),
                Some(line) => going_on.push(goes_on(&newcomer.0, "the table", line, says)),
                None => succeeds(&newcomer.0, "the table", line, says, false),
            }
        }
    });
}
