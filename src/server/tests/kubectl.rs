//! Real kubectl, oldest and newest, against the server over TLS: what needs discovery, OpenAPI, certificates,
//! tokens and access reviews. Skipped where there is no kubectl.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use harness::kubectl::{Cluster, kubectls};

const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: applied\ndata:\n  a: \"1\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_finds_what_it_needs() {
    let kubectls = kubectls();
    let (Some(oldest), Some(newest)) = (kubectls.first(), kubectls.last()) else {
        eprintln!("skipped: there is no kubectl");
        return;
    };
    for kubectl in [oldest, newest] {
        let cluster = Cluster::start().await;
        let run = async |arguments: &[&str]| cluster.ok(kubectl, arguments, "").await;

        let resources = run(&["api-resources", "-o", "name"]).await;
        assert!(
            ["pods", "deployments.apps", "clusterroles.rbac.authorization.k8s.io"].iter().all(|name| resources.contains(name)),
            "{resources}"
        );
        assert!(run(&["api-versions"]).await.contains("apps/v1"));
        assert!(run(&["create", "configmap", "a", "--from-literal=x=1"]).await.contains("configmap/a created"));
        assert!(run(&["create", "deployment", "kubia", "--image=i:1"]).await.contains("deployment.apps/kubia created"));
        assert!(run(&["explain", "pod.spec.containers"]).await.contains("imagePullPolicy"));
        assert!(run(&["explain", "deployment.spec.replicas"]).await.contains("<integer>"));
        assert_eq!(run(&["auth", "can-i", "create", "pods"]).await, "yes\n");
        assert_eq!(cluster.run(kubectl, &["auth", "can-i", "create", "pods", "--as=nobody"], "").await.1, "no\n");

        for (value, says) in [("1", "created"), ("1", "unchanged"), ("2", "configured")] {
            let said = cluster.ok(kubectl, &["apply", "-f", "-"], &MANIFEST.replace("\"1\"", &format!("\"{value}\""))).await;
            assert!(said.contains(says), "{said}");
        }
        let (code, _, refused) = cluster.run(kubectl, &["apply", "-f", "-"], &MANIFEST.replace("\ndata:", "\ndatum:")).await;
        assert!(code != 0 && refused.contains("unknown field \"datum\""), "{refused}");

        let forbidden = cluster.run(kubectl, &["get", "pods", "--as=jane"], "").await.2;
        assert!(forbidden.contains(r#"User "jane" cannot list resource "pods" in API group "" in the namespace "default""#), "{forbidden}");

        run(&["create", "serviceaccount", "robot"]).await;
        run(&["create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot"]).await;
        let token = run(&["create", "token", "robot", "--duration=10m"]).await;
        let url = run(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"]).await;
        let plain = ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", "-n", "default", "--server", &url, "--token", token.trim()];
        let as_robot = |more: &[&'static str]| {
            plain.iter().map(|&word| word.to_owned()).chain(more.iter().map(|&word| word.to_owned())).collect::<Vec<_>>()
        };
        let words = as_robot(&["get", "configmap", "a", "-o", "name"]);
        assert_eq!(run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await, "configmap/a\n");
        let words = as_robot(&["delete", "configmap", "a"]);
        assert_ne!(cluster.run(kubectl, &words.iter().map(String::as_str).collect::<Vec<_>>(), "").await.0, 0);

        cluster.stop();
    }
}
