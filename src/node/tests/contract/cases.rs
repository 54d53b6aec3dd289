//! What every runtime with processes promises.

mod deaths;
mod images;
mod isolation;
mod lives;
mod restricted;
mod streams;

use std::time::Duration;

use coracle_api::seams::{Session, StreamOptions};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::AsyncReadExt;

use self::deaths::{a_restart_of_the_agent, the_death_of_a_sandbox, the_death_of_a_shim};
use self::images::{images_are_listed_and_removed, the_demo_server};
use self::isolation::{
    a_shared_pid_namespace, capabilities_and_privileges, identity_and_root, namespaces_of_the_pod, profiles_of_system_calls,
};
use self::lives::{a_command_that_cannot_start, exit_codes_and_logs, out_of_memory, removal, states_are_told, stopping};
use self::restricted::what_is_used_without_control_groups;
use self::streams::{
    a_terminal, attach_to_output, commands_in_a_container, logs_are_rotated, many_commands_leak_nothing, output_before_the_first_session,
    standard_input,
};
use crate::subject::Subject;

pub struct Case {
    pub name: &'static str,
    pub run: for<'a> fn(&'a Subject) -> BoxFuture<'a, ()>,
}

macro_rules! cases {
    ($($name:ident),* $(,)?) => { vec![$(Case { name: stringify!($name), run: |subject| $name(subject).boxed() }),*] };
}

/// What holds without processes too.
pub fn simulated() -> Vec<Case> {
    cases![states_are_told, removal]
}

pub fn docker() -> Vec<Case> {
    let mut all = with_processes();
    all.extend(cases![the_death_of_a_sandbox, profiles_of_system_calls]);
    all
}

pub fn native() -> Vec<Case> {
    let mut all = with_processes();
    all.extend(cases![the_death_of_a_shim, many_commands_leak_nothing]);
    all
}

/// A plain user has no control groups, and may have no other users.
pub fn rootless() -> Vec<Case> {
    let mut all = native();
    all.retain(|case| case.name != "out_of_memory");
    all.extend(cases![what_is_used_without_control_groups]);
    all
}

fn with_processes() -> Vec<Case> {
    cases![
        states_are_told,
        exit_codes_and_logs,
        a_command_that_cannot_start,
        commands_in_a_container,
        a_terminal,
        standard_input,
        output_before_the_first_session,
        attach_to_output,
        stopping,
        out_of_memory,
        identity_and_root,
        capabilities_and_privileges,
        namespaces_of_the_pod,
        a_shared_pid_namespace,
        logs_are_rotated,
        images_are_listed_and_removed,
        the_demo_server,
        a_restart_of_the_agent,
        removal,
    ]
}

fn both() -> StreamOptions {
    StreamOptions { stdin: false, stdout: true, stderr: true, tty: false }
}

async fn text(session: &mut Session) -> String {
    let mut text = String::new();
    session.stdout.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    text
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

async fn sh(subject: &Subject, id: &str, script: &str) -> String {
    let command = ["sh", "-c", script].map(str::to_owned);
    let result = subject.runtime().exec_sync(id, &command, Some(Duration::from_secs(20))).await.unwrap();
    String::from_utf8(result.output).unwrap()
}
