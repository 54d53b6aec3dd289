//! Who a container is, what it may do and see.

use std::time::Duration;

use coracle_node::rootless;
use coracle_node::runtime::{Mount, NamespaceMode, Seccomp};

use super::sh;
use crate::subject::{IMAGE, Subject};

pub async fn identity_and_root(subject: &Subject) {
    let runtime = subject.runtime();
    let sandbox = runtime.run_sandbox(&subject.sandbox("identity")).await.unwrap();
    let mut config = subject.script("c", "id -u; id -g; id -G; pwd; echo $HOSTNAME $A $B; touch /x 2>/dev/null || echo read-only");
    config.security.run_as_user = Some(1000);
    config.security.run_as_group = Some(2000);
    config.security.supplemental_groups = vec![3000];
    config.security.read_only_root = true;
    let mut ids = "1000\n2000\n2000 3000".to_owned();
    if rootless::is_rootless() && rootless::one_user() {
        let error = runtime.create_container(&sandbox, &config).await.unwrap_err().to_string();
        assert!(error.starts_with("this node runs as a plain user and has no user 1000"), "{error}");
        (config.security.run_as_user, config.security.run_as_group) = (None, Some(0));
        // he cannot give up groups that he has
        let own = nix::unistd::getgroups().unwrap().into_iter().map(|group| group.as_raw());
        let mut groups: Vec<u32> = std::iter::once(0).chain(own).collect();
        groups.dedup();
        ids = format!("0\n0\n{}", groups.iter().map(u32::to_string).collect::<Vec<_>>().join(" "));
    }
    config.working_dir = "/made/here".to_owned();
    config.env = [("A", "1"), ("B", "2"), ("A", "3")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    subject.ended(&id).await;
    let log = subject.log(&id, "read-only").await.replace("stdout F ", "");
    assert_eq!(log, format!("{ids}\n/made/here\nidentity 3 2\nread-only\n"));
    config.security.run_as_user = None;
    config.image = IMAGE.to_owned();
    config.security.run_as_group = None;
    config.security.supplemental_groups.clear();
    config.command = ["sh", "-c", "echo $(id -u) $(id -g) $HOME"].map(str::to_owned).into();
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    assert!(subject.log(&id, "0 0 /root").await.contains("stdout F 0 0 /root\n"));
}

pub async fn capabilities_and_privileges(subject: &Subject) {
    let runtime = subject.runtime();
    let sandbox = runtime.run_sandbox(&subject.sandbox("caps")).await.unwrap();
    let show = "while read name value; do case $name in CapEff:|CapBnd:|NoNewPrivs:) echo $name $value;; esac; done < /proc/self/status";
    let capabilities =
        |log: &str| log.lines().find_map(|line| line.split("CapEff: ").nth(1)).map(|hex| u64::from_str_radix(hex, 16).unwrap());
    let mut config = subject.script("c", &format!("{show}; cat /proc/kcore 2>&1 | head -c 1; ls -d /dev/null; echo done"));
    config.security.no_new_privileges = true;
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let log = subject.log(&id, "done").await;
    assert_eq!(capabilities(&log), Some(0x0000_0000_a804_25fb), "{log}");
    assert!(log.contains("NoNewPrivs: 1"), "{log}");
    config.security.no_new_privileges = false;
    config.security.drop_capabilities = vec!["ALL".to_owned()];
    config.security.add_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    config.log_path = "d/0.log".into();
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let log = subject.log(&id, "done").await;
    assert_eq!(capabilities(&log), Some(1 << 10), "{log}");
    config = subject.script("e", &format!("{show}; echo 1 > /proc/sys/net/ipv4/ip_forward && echo done"));
    config.security.privileged = true;
    let id = runtime.create_container(&sandbox, &config).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let log = subject.log(&id, "done").await;
    assert!(capabilities(&log).unwrap().count_ones() > 35, "{log}");
}

pub async fn namespaces_of_the_pod(subject: &Subject) {
    let runtime = subject.runtime();
    let volume = tempfile::tempdir().unwrap();
    std::fs::write(volume.path().join("file"), "from the host\n").unwrap();
    let mut pod = subject.sandbox("pod");
    pod.sysctls =
        [("net.ipv4.ip_unprivileged_port_start", "80"), ("kernel.shm_rmid_forced", "1")].map(|(k, v)| (k.into(), v.into())).into();
    let sandbox = runtime.run_sandbox(&pod).await.unwrap();
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let mut config = subject.script(name, "sleep 1000");
        let mount = |destination: &str, read_only| Mount {
            source: volume.path().to_owned(),
            destination: destination.into(),
            read_only,
            propagation: "private".to_owned(),
            ..Mount::default()
        };
        config.mounts = vec![mount("/data", false), mount("/frozen", true)];
        let id = runtime.create_container(&sandbox, &config).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        ids.push(id);
    }
    // An engine's containers have names of the host of their own, equal ones.
    let uts = if subject.is("docker") { "" } else { "/proc/self/ns/uts" };
    let links = &format!("readlink /proc/self/ns/ipc {uts} /proc/self/ns/net; hostname");
    let (a, b) = (sh(subject, &ids[0], links).await, sh(subject, &ids[1], links).await);
    assert_eq!(a, b);
    assert!(a.ends_with("\npod\n"), "{a}");
    let own = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_string_lossy().into_owned();
    assert!(!a.contains(&own("ipc")) && !a.contains(&own("uts")) && !a.contains(&own("net")));
    assert_eq!(
        sh(
            subject,
            &ids[0],
            "cat /data/file; echo changed > /data/file; echo x > /dev/shm/y; echo $$ > /dev/null; { echo 1 > /frozen/x; } 2>/dev/null || echo no"
        )
        .await
        .lines()
        .next(),
        Some("from the host")
    );
    assert_eq!(sh(subject, &ids[1], "cat /frozen/file /dev/shm/y; [ -e /frozen/x ] || echo absent").await, "changed\nx\nabsent\n");
    let set = sh(subject, &ids[0], "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced").await;
    assert_eq!(set, "80\n1\n");
    let processes = sh(subject, &ids[0], "cat /proc/1/cmdline | tr '\\0' ' '").await;
    assert_eq!(processes, "sh -c sleep 1000 ");
    // what the shell itself says of it may come before or after
    let said = sh(subject, &ids[0], "cd /sys/fs/cgroup; [ -d cpu ] && cd cpu; ls >/dev/null && echo 1 > x || echo read-only").await;
    assert!(said.lines().any(|line| line == "read-only"), "{said}");
}

pub async fn a_shared_pid_namespace(subject: &Subject) {
    let runtime = subject.runtime();
    let mut shared = subject.sandbox("shared");
    shared.pid = NamespaceMode::Pod;
    let sandbox = runtime.run_sandbox(&shared).await.unwrap();
    let mut ids = Vec::new();
    for (name, script) in [("a", "sleep 4321"), ("b", "sleep 1234 & sleep 1234")] {
        let id = runtime.create_container(&sandbox, &subject.script(name, script)).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        ids.push(id);
    }
    let seen = sh(subject, &ids[1], "ps ax").await;
    assert!(seen.contains("sleep 4321") && seen.contains("sleep 1234"), "{seen}");
    let first = sh(subject, &ids[1], "tr '\\0' ' ' < /proc/1/cmdline").await;
    assert!(first.contains("pause") && !first.contains("__shim"), "{first}");
    // All processes of a container end with its first one.
    runtime.stop_container(&ids[1], None, Duration::ZERO).await.unwrap();
    let seen = sh(subject, &ids[0], "ps ax").await;
    assert!(seen.contains("sleep 4321") && !seen.contains("sleep 1234"), "{seen}");
    runtime.stop_sandbox(&sandbox).await.unwrap();
    assert_eq!(subject.ended(&ids[0]).await, (137, "Error".to_owned()));
}

pub async fn profiles_of_system_calls(subject: &Subject) {
    let runtime = subject.runtime();
    let sandbox = runtime.run_sandbox(&subject.sandbox("seccomp")).await.unwrap();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#;
    subject.seccomp_profile("own/no-mkdir.json", profile);
    let no_mkdir = "[ -d /x ] && echo made || echo not made";
    let cases = [
        (Seccomp::Unconfined, "0", "made"),
        (Seccomp::RuntimeDefault, "2", "made"),
        (Seccomp::Localhost("own/no-mkdir.json".to_owned()), "2", "not made"),
    ];
    for (number, (seccomp, mode, made)) in cases.into_iter().enumerate() {
        let script = format!(
            "while read name value; do [ $name = Seccomp: ] && echo mode $value; done < /proc/self/status; mkdir /x 2>/dev/null; {no_mkdir}"
        );
        let mut config = subject.script(&format!("s{number}"), &script);
        config.security.seccomp = seccomp;
        let id = runtime.create_container(&sandbox, &config).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        subject.ended(&id).await;
        let log = subject.log(&id, "made").await;
        assert!(log.contains(&format!("stdout F mode {mode}\n")) && log.ends_with(&format!("stdout F {made}\n")), "{log}");
    }
    let mut config = subject.script("none", "true");
    config.security.seccomp = Seccomp::Localhost("no/such.json".to_owned());
    let error = runtime.create_container(&sandbox, &config).await.unwrap_err().to_string();
    assert!(error.starts_with("failed to load seccomp profile"), "{error}");
}
