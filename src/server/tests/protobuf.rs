//! Real kubectl sends the same objects as JSON (until 1.31) and as protocol buffers (since 1.32): both must come to
//! the same. Skipped where there is no kubectl of both sorts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod harness;

use std::path::{Path, PathBuf};

use harness::kubectl::{Cluster, kubectls};
use serde_json::Value;

/// The last that writes JSON, and those that write protocol buffers.
fn writers() -> Option<(PathBuf, Vec<PathBuf>)> {
    let (json, protobuf): (Vec<_>, Vec<_>) =
        kubectls().into_iter().partition(|file| file.file_name().is_some_and(|name| *name <= *"kubectl.1.31"));
    let json = json.into_iter().next_back().filter(|_| !protobuf.is_empty());
    if json.is_none() {
        eprintln!("skipped: there is no kubectl that writes JSON and one that writes protocol buffers");
    }
    Some((json?, protobuf))
}

/// Pods with something of everything, copied by `create job --from` from what `apply` sent as JSON.
const CRON_JOB: &str = r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: wide}
spec:
  schedule: "*/5 * * * *"
  suspend: true
  jobTemplate:
    metadata: {labels: {from: cron}, annotations: {note: "ä"}}
    spec:
      parallelism: 0
      completions: 3
      backoffLimit: 0
      completionMode: Indexed
      ttlSecondsAfterFinished: 0
      podFailurePolicy:
        rules:
        - {action: FailJob, onExitCodes: {containerName: c, operator: In, values: [1, 40]}}
        - {action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "True"}]}
      template:
        metadata: {labels: {app: wide}}
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 0
          activeDeadlineSeconds: 100
          automountServiceAccountToken: false
          enableServiceLinks: false
          setHostnameAsFQDN: true
          hostname: h
          dnsConfig: {nameservers: [10.0.0.1], options: [{name: ndots, value: "2"}]}
          hostAliases: [{ip: 10.1.2.3, hostnames: [a, b]}]
          nodeSelector: {disk: ssd}
          readinessGates: [{conditionType: example.com/ready}]
          schedulingGates: [{name: example.com/gate}]
          imagePullSecrets: [{name: pull}]
          securityContext:
            runAsUser: 0
            runAsNonRoot: false
            fsGroup: 7
            supplementalGroups: [1, 70000]
            sysctls: [{name: net.ipv4.ip_forward, value: "1"}]
            seccompProfile: {type: RuntimeDefault}
          tolerations:
          - {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 0}
          affinity:
            nodeAffinity:
              requiredDuringSchedulingIgnoredDuringExecution:
                nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: In, values: [ssd, hdd]}]}]
            podAntiAffinity:
              preferredDuringSchedulingIgnoredDuringExecution:
              - weight: 5
                podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: wide}}, namespaceSelector: {}}
          topologySpreadConstraints:
          - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: wide}}, minDomains: 2}
          volumes:
          - {name: e, emptyDir: {}}
          - {name: m, emptyDir: {medium: Memory, sizeLimit: 1500m}}
          - {name: h, hostPath: {path: /var, type: ""}}
          - {name: c, configMap: {name: cm, optional: false, defaultMode: 0, items: [{key: k, path: p, mode: 256}]}}
          - {name: s, secret: {secretName: s}}
          - {name: d, downwardAPI: {items: [{path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu, divisor: 1m}}]}}
          - {name: v, persistentVolumeClaim: {claimName: v, readOnly: true}}
          - {name: csi, csi: {driver: d.example.com, readOnly: false, volumeAttributes: {a: b}, nodePublishSecretRef: {name: s}}}
          - name: ep
            ephemeral: {volumeClaimTemplate: {metadata: {labels: {a: b}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}
          - name: p
            projected:
              sources:
              - {serviceAccountToken: {path: token, expirationSeconds: 3600, audience: x}}
              - {configMap: {name: cm}}
              - {secret: {name: s, optional: true}}
              - {downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
          initContainers:
          - {name: sidecar, image: "i:1", restartPolicy: Always, startupProbe: {exec: {command: [a]}, failureThreshold: 30}}
          containers:
          - name: c
            image: i:1
            command: [sh, -c]
            args: ["", "--x"]
            workingDir: /w
            stdin: true
            tty: true
            ports: [{name: http, containerPort: 80}, {containerPort: 53, protocol: UDP, hostPort: 53}]
            env:
            - {name: PLAIN, value: "1"}
            - {name: EMPTY, value: ""}
            - {name: FIELD, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
            - {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
            - {name: MAP, valueFrom: {configMapKeyRef: {name: cm, key: k}}}
            - {name: RESOURCE, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
            envFrom: [{prefix: P_, configMapRef: {name: cm, optional: true}}, {secretRef: {name: s}}]
            resources: {limits: {cpu: 1500m, memory: 1024Mi}, requests: {cpu: "0", memory: 1e3}}
            volumeMounts: [{name: e, mountPath: /e, subPathExpr: $(PLAIN), readOnly: true, mountPropagation: HostToContainer}]
            livenessProbe: {httpGet: {path: /x, port: http, scheme: HTTPS, httpHeaders: [{name: A, value: b}]}, initialDelaySeconds: 5}
            readinessProbe: {tcpSocket: {port: 80}, periodSeconds: 3, timeoutSeconds: 2}
            startupProbe: {grpc: {port: 9, service: ""}, terminationGracePeriodSeconds: 1}
            lifecycle: {postStart: {exec: {command: [a, b]}}, preStop: {sleep: {seconds: 0}}}
            securityContext:
              privileged: false
              runAsUser: 0
              readOnlyRootFilesystem: false
              allowPrivilegeEscalation: false
              capabilities: {add: [NET_ADMIN], drop: [ALL]}
"#;

/// Commands whose clients are typed.
const COMMANDS: &[&str] = &[
    "create namespace extra",
    "create configmap map --from-literal=a=1 --from-literal=b=",
    "create secret generic secret --from-literal=a=1 --from-literal=empty=",
    "create secret docker-registry pull --docker-server=r --docker-username=u --docker-password=p",
    "create serviceaccount robot",
    "create role role --verb=get,list --resource=pods,deployments.apps --resource-name=x",
    "create rolebinding binding --role=role --serviceaccount=default:robot --user=jane --group=g",
    "create clusterrole urls --verb=get --non-resource-url=/x",
    "create clusterrole aggregate --aggregation-rule=a=b",
    "create clusterrolebinding wide --clusterrole=view --user=jane",
    "create deployment web --image=i:1 --image=j:2 --replicas=0",
    "create deployment ports --image=i:1 --port=80 -- sleep 1",
    "create job once --image=i:1 -- echo hello",
    "create job copied --from=cronjob/wide",
    "create cronjob often --image=i:1 --schedule=@hourly --restart=OnFailure -- date",
    "create ingress ingress --class=nginx --rule=a.example.com/x*=web:80,tls=secret --rule=b.example.com/=web:http --default-backend=web:81 --annotation=a=b",
    "create quota quota --hard=cpu=1500m,pods=2,limits.memory=1Gi --scopes=NotTerminating",
    "create poddisruptionbudget budget --selector=app=web --min-available=50%",
    "create poddisruptionbudget budget1 --selector=app=web --max-unavailable=1",
    "create priorityclass high --value=-5 --description=d --preemption-policy=Never",
    "create service clusterip cluster --tcp=80:8080 --tcp=443 --clusterip=10.96.7.7",
    "create service nodeport node --tcp=80 --node-port=30123",
    "create service externalname name --external-name=example.com",
];

const STORED: &[&str] = &[
    "configmaps",
    "secrets",
    "serviceaccounts",
    "roles",
    "rolebindings",
    "deployments",
    "jobs",
    "cronjobs",
    "ingresses",
    "resourcequotas",
    "poddisruptionbudgets",
    "services",
    "priorityclasses",
    "clusterrole/urls",
    "clusterrole/aggregate",
    "clusterrolebinding/wide",
    "namespace/extra",
];

/// Without what differs between two servers.
fn comparable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !matches!(key.as_str(), "creationTimestamp" | "resourceVersion" | "time" | "clusterIP" | "clusterIPs"));
            let own_uid = |key: String| if key.starts_with("k:{\"uid\":") { "k:UID".to_owned() } else { key };
            *map = std::mem::take(map).into_iter().map(|(key, value)| (own_uid(key), value)).collect();
            map.values_mut().for_each(comparable);
        }
        Value::Array(items) => items.iter_mut().for_each(comparable),
        Value::String(text) if uuid::Uuid::parse_str(text).is_ok() => "UID".clone_into(text),
        _ => {}
    }
}

/// What the commands leave in a cluster of their own.
async fn created_by(kubectl: &Path) -> Vec<Value> {
    let cluster = Cluster::start().await;
    cluster.ok(kubectl, &["apply", "-f", "-"], CRON_JOB).await;
    for command in COMMANDS {
        cluster.ok(kubectl, &command.split(' ').collect::<Vec<_>>(), "").await;
    }
    let mut out = Vec::new();
    for what in STORED {
        let plain = ["get", what, "-o", "json", "--show-managed-fields"];
        let list: Value = serde_json::from_str(&cluster.ok(kubectl, &plain, "").await).unwrap();
        let items = list["items"].as_array().cloned().unwrap_or_else(|| vec![list]);
        assert!(!items.is_empty(), "{what}");
        out.extend(items);
    }
    cluster.stop();
    out.iter_mut().for_each(comparable);
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protocol_buffers_and_json_come_to_the_same() {
    let Some((json, protobuf)) = writers() else { return };
    let wanted = created_by(&json).await;
    for kubectl in protobuf {
        let got = created_by(&kubectl).await;
        assert_eq!(got.len(), wanted.len());
        for (got, wanted) in got.iter().zip(&wanted) {
            let show = |value: &Value| serde_json::to_string_pretty(value).unwrap();
            assert!(got == wanted, "{}: {} {}", kubectl.display(), show(got), show(wanted));
        }
    }
}

const NODE: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: host}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
"#;

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {nodeName: host, containers: [{name: c, image: "i:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec: {nodeName: host, containers: [{name: c, image: "i:1"}]}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_tokens_evictions_and_deletes() {
    let Some((_, protobuf)) = writers() else { return };
    for kubectl in protobuf {
        let cluster = Cluster::start().await;
        let run = async |command: &str, input: &str| cluster.ok(&kubectl, &command.split(' ').collect::<Vec<_>>(), input).await;
        run("apply -f -", NODE).await;
        assert_eq!(run("auth can-i create pods/exec", "").await, "yes\n");
        assert_eq!(cluster.run(&kubectl, &["auth", "can-i", "get", "/metrics", "--as=jane"], "").await.1, "no\n");
        assert!(run("auth can-i --list", "").await.contains("*.*"));
        assert!(run("auth whoami", "").await.contains("system:masters"));
        assert_eq!(run("create token default --duration=10m --audience=x", "").await.split('.').count(), 3);
        // The first by an eviction with options, the second by a delete with a precondition.
        for more in ["", " --disable-eviction"] {
            run("apply -f -", PODS).await;
            run(&format!("drain host --force --grace-period=0 --timeout=30s{more}"), "").await;
            assert_eq!(run("get pods -o name", "").await, "");
            run("uncordon host", "").await;
        }
        let rules = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: default}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n";
        run("auth reconcile -f -", rules).await;
        assert_eq!(run("get role r -o jsonpath={.rules[0].verbs}", "").await, r#"["get"]"#);
        cluster.stop();
    }
}
