//! `create`, `run` and `expose`: objects made of a few words.

use std::path::{Path, PathBuf};

use base64::Engine;
use clap::{Args, Subcommand};
use coracle_manifests::documents;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::error::VerbError;
use crate::output::{self, Format};
use crate::pods::text;
use crate::session::{Out, Session, shown};

/// Whether an object is made, and how it is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct Making {
    /// none, client (only print it) or server (let the server check it)
    #[arg(long, value_name = "HOW", default_value = "none", num_args = 0..=1, require_equals = true, default_missing_value = "client", value_parser = ["none", "client", "server"])]
    pub dry_run: String,
    /// name, yaml, json or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

impl Making {
    /// Makes an object and says so; `done` is the word for it.
    pub async fn make(&self, session: &Session, object: Value, done: &str, out: &mut Out<'_>) -> Result<(), VerbError> {
        let mut target = session.target_of(&object).await?;
        let (kind, name) = (target.kind.clone(), target.name.clone());
        target.name.clear();
        let made = match self.dry_run.as_str() {
            "client" => object,
            how => {
                let mut call = Call::post(target.path().trim_end_matches('/'), object);
                if how == "server" {
                    call.path.push_str("&dryRun=All");
                }
                session.ask(&call).await?
            }
        };
        let name = made["metadata"]["name"].as_str().unwrap_or(&name).to_owned();
        match &self.output {
            Some(format) => output::objects(format, vec![(&kind, made)], true, out),
            None => {
                let how = match self.dry_run.as_str() {
                    "client" => " (dry run)",
                    "server" => " (server dry run)",
                    _ => "",
                };
                out.line(format!("{} {done}{how}", shown(&kind, &name)));
                Ok(())
            }
        }
    }
}

/// Creates objects of manifests, or of a few words
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Create {
    /// A file or a folder of manifests, or - for standard input
    #[arg(short, long, value_name = "PATH", required = true)]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    making: Making,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// A namespace
    #[command(visible_alias = "ns")]
    Namespace {
        name: String,
        #[command(flatten)]
        making: Making,
    },
    /// A deployment
    #[command(visible_alias = "deploy")]
    Deployment {
        name: String,
        /// Its image; several for several containers
        #[arg(long, required = true)]
        image: Vec<String>,
        /// How many pods
        #[arg(long, default_value_t = 1)]
        replicas: u32,
        /// The port that the container listens on
        #[arg(long)]
        port: Option<u16>,
        /// What the container runs, after --
        #[arg(last = true)]
        command: Vec<String>,
        #[command(flatten)]
        making: Making,
    },
    /// A job, or a job of a cron job
    Job {
        name: String,
        /// Its image
        #[arg(long, required_unless_present = "from", conflicts_with = "from")]
        image: Option<String>,
        /// As `cronjob/NAME`
        #[arg(long)]
        from: Option<String>,
        /// What the container runs, after --
        #[arg(last = true)]
        command: Vec<String>,
        #[command(flatten)]
        making: Making,
    },
    /// A config map
    #[command(visible_alias = "cm")]
    Configmap {
        name: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        making: Making,
    },
    /// A secret
    Secret {
        #[command(subcommand)]
        of: Secret,
    },
    /// A service account
    #[command(visible_alias = "sa")]
    Serviceaccount {
        name: String,
        #[command(flatten)]
        making: Making,
    },
}

#[derive(Debug, Clone, Subcommand)]
enum Secret {
    /// Of any values
    Generic {
        name: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        making: Making,
    },
}

#[derive(Debug, Clone, Args)]
struct Data {
    /// KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// A file, under its name or as KEY=PATH; every file of a folder
    #[arg(long, value_name = "[KEY=]PATH")]
    from_file: Vec<String>,
}

impl Data {
    fn read(&self) -> Result<Vec<(String, Vec<u8>)>, VerbError> {
        let mut found = Vec::new();
        for literal in &self.from_literal {
            let split =
                literal.split_once('=').ok_or_else(|| VerbError::wrong(format!("invalid literal source {literal}, expected key=value")))?;
            found.push((split.0.to_owned(), split.1.as_bytes().to_vec()));
        }
        for file in &self.from_file {
            let (key, path) = file.split_once('=').map_or((None, file.as_str()), |(key, path)| (Some(key.to_owned()), path));
            let failed = |error| VerbError::wrong(format!("{path}: {error}"));
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut paths = vec![PathBuf::from(path)];
            if Path::new(path).is_dir() {
                let entries = std::fs::read_dir(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
                paths = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
                paths.sort();
            }
            for path in paths {
                let bytes = std::fs::read(&path).map_err(failed)?;
                found.push((key.clone().unwrap_or_else(|| name(&path)), bytes));
            }
        }
        Ok(found)
    }
}

fn object(api_version: &str, kind: &str, name: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

/// The last part of an image's name, as kubectl calls its container.
fn container_name(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split([':', '@']).next().unwrap_or(name).replace(['_', '.'], "-")
}

impl Create {
    /// Creates them.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let Some(what) = &self.what else { return self.manifests(session, out).await };
        let (making, object) = match what {
            What::Namespace { name, making } => (making, object("v1", "Namespace", name, Value::Null)),
            What::Serviceaccount { name, making } => (making, object("v1", "ServiceAccount", name, Value::Null)),
            What::Deployment { name, image, replicas, port, command, making } => {
                (making, deployment(name, image, *replicas, *port, command))
            }
            What::Job { name, image, from, command, making } => {
                (making, job(session, name, image.as_deref(), from.as_deref(), command).await?)
            }
            What::Configmap { name, data, making } => (making, config_map(name, data.read()?)),
            What::Secret { of: Secret::Generic { name, data, making } } => {
                let encoded = |bytes: Vec<u8>| Value::from(base64::engine::general_purpose::STANDARD.encode(bytes));
                let data: Map<String, Value> = data.read()?.into_iter().map(|(key, bytes)| (key, encoded(bytes))).collect();
                (making, object("v1", "Secret", name, json!({"data": data})))
            }
        };
        making.make(session, object, "created", out).await
    }

    async fn manifests(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let manifests = crate::apply::Manifests { filename: self.filename.clone(), paths: Vec::new(), force_conflicts: false };
        let (mut failed, mut any) = (None, false);
        for source in manifests.sources()? {
            let files = source.read().map_err(|error| VerbError::wrong(format!("{}: {error}", source.path().display())))?;
            for file in files {
                let wrong = |why: String| VerbError::wrong(format!("{}: {why}", file.path.display()));
                let parsed = documents::parse(&file.text.clone().map_err(wrong)?).map_err(|why| wrong(why.to_string()))?;
                for manifest in parsed {
                    any = true;
                    if let Err(error) = self.making.make(session, manifest.object, "created", out).await {
                        out.aside(error.to_string());
                        failed = Some(VerbError::Said(1));
                    }
                }
            }
        }
        match failed {
            None if !any => Err(VerbError::wrong("no objects passed to create")),
            failed => failed.map_or(Ok(()), Err),
        }
    }
}

fn deployment(name: &str, images: &[String], replicas: u32, port: Option<u16>, command: &[String]) -> Value {
    let container = |image: &String| {
        let mut container = json!({"name": container_name(image), "image": image, "resources": {}});
        if let Some(port) = port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if !command.is_empty() {
            container["command"] = json!(command);
        }
        container
    };
    let containers: Vec<Value> = images.iter().map(container).collect();
    let labels = json!({"app": name});
    let spec = json!({
        "replicas": replicas, "selector": {"matchLabels": labels}, "strategy": {},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
    });
    let mut deployment = object("apps/v1", "Deployment", name, json!({"spec": spec, "status": {}}));
    deployment["metadata"]["labels"] = labels;
    deployment
}

async fn job(session: &Session, name: &str, image: Option<&str>, from: Option<&str>, command: &[String]) -> Result<Value, VerbError> {
    let Some(from) = from else {
        let image = image.unwrap_or_default();
        let mut container = json!({"name": name, "image": image, "resources": {}});
        if !command.is_empty() {
            container["command"] = json!(command);
        }
        let template = json!({"metadata": {}, "spec": {"containers": [container], "restartPolicy": "Never"}});
        return Ok(object("batch/v1", "Job", name, json!({"spec": {"template": template}, "status": {}})));
    };
    let cron = session.one(&[from.to_owned()]).await?;
    if !cron.kind.is("batch", "cronjobs") {
        return Err(VerbError::wrong(format!("unknown object type {}: only cronjob is supported", cron.kind.kind)));
    }
    let cron = session.read(cron.path()).await?;
    let template = &cron["spec"]["jobTemplate"];
    let mut job = object("batch/v1", "Job", name, json!({"spec": template["spec"]}));
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": cron["metadata"]["name"], "uid": cron["metadata"]["uid"]});
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert("cronjob.kubernetes.io/instantiate".to_owned(), "manual".into());
    job["metadata"]["annotations"] = annotations.into();
    job["metadata"]["labels"] = template["metadata"]["labels"].clone();
    job["metadata"]["ownerReferences"] = json!([owner]);
    Ok(job)
}

fn config_map(name: &str, values: Vec<(String, Vec<u8>)>) -> Value {
    let (mut data, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in values {
        match String::from_utf8(bytes) {
            Ok(text) => data.insert(key, text.into()),
            Err(error) => binary.insert(key, base64::engine::general_purpose::STANDARD.encode(error.as_bytes()).into()),
        };
    }
    let mut map = object("v1", "ConfigMap", name, json!({"data": data}));
    if !binary.is_empty() {
        map["binaryData"] = binary.into();
    }
    map
}

/// Runs a pod of one container
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Name of the pod
    pub name: String,
    /// Its image
    #[arg(long)]
    pub image: String,
    /// Always, Never or OnFailure
    #[arg(long, default_value = "Always")]
    pub restart: String,
    /// The port that the container listens on
    #[arg(long)]
    pub port: Option<u16>,
    /// NAME=VALUE
    #[arg(long)]
    pub env: Vec<String>,
    /// KEY=VALUE
    #[arg(short, long, value_delimiter = ',')]
    pub labels: Vec<String>,
    /// What comes after -- replaces the image's command, not only its arguments
    #[arg(long)]
    pub command: bool,
    /// Pass on what is typed
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// The container has a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Delete the pod when it has ended
    #[arg(long, requires = "stdin")]
    pub rm: bool,
    /// Whether it is made, and how it is printed
    #[command(flatten)]
    pub making: Making,
    /// What the container runs, after --
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

impl Run {
    /// The pod.
    pub fn pod(&self) -> Result<Value, VerbError> {
        let pairs = |texts: &[String], what: &str| -> Result<Vec<(String, String)>, VerbError> {
            let split = |text: &String| text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            texts.iter().map(|text| split(text).ok_or_else(|| VerbError::wrong(format!("invalid {what}: {text}")))).collect()
        };
        let mut container = json!({"name": self.name, "image": self.image, "resources": {}});
        if let Some(port) = self.port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        let env: Vec<Value> = pairs(&self.env, "env")?.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        if !env.is_empty() {
            container["env"] = env.into();
        }
        if !self.arguments.is_empty() {
            container[if self.command { "command" } else { "args" }] = json!(self.arguments);
        }
        if self.stdin {
            container["stdin"] = true.into();
            container["stdinOnce"] = true.into();
        }
        if self.tty {
            container["tty"] = true.into();
        }
        let mut labels: Map<String, Value> = pairs(&self.labels, "label")?.into_iter().map(|(key, value)| (key, value.into())).collect();
        if labels.is_empty() {
            labels.insert("run".to_owned(), self.name.clone().into());
        }
        let spec = json!({"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": self.restart});
        let mut pod = object("v1", "Pod", &self.name, json!({"spec": spec, "status": {}}));
        pod["metadata"]["labels"] = labels.into();
        Ok(pod)
    }
}

/// Makes a service for pods
#[derive(Debug, Clone, Args)]
pub struct Expose {
    /// As `deployment NAME`, `pod/NAME`, `service/NAME`
    #[arg(value_name = "TYPE", required = true)]
    what: Vec<String>,
    /// The service's port; the container's if not given
    #[arg(long)]
    port: Option<u16>,
    /// The pods' port or its name; as the service's if not given
    #[arg(long)]
    target_port: Option<String>,
    /// ClusterIP, NodePort or LoadBalancer
    #[arg(long = "type", value_name = "TYPE")]
    of_type: Option<String>,
    /// TCP, UDP or SCTP
    #[arg(long, default_value = "TCP")]
    protocol: String,
    /// The service's name; as the object's if not given
    #[arg(long)]
    name: Option<String>,
    /// The labels of the pods; as the object's if not given
    #[arg(long)]
    selector: Option<String>,
    #[command(flatten)]
    making: Making,
}

impl Expose {
    /// Makes it.
    pub async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<(), VerbError> {
        let target = session.one(&self.what).await?;
        let of = session.read(target.path()).await?;
        let chosen = match &self.selector {
            Some(text) => {
                text.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key.to_owned(), value.into())).collect()
            }
            None if target.kind.is("", "pods") => of["metadata"]["labels"].as_object().cloned().unwrap_or_default(),
            None => {
                let selector = &of["spec"]["selector"];
                selector.get("matchLabels").unwrap_or(selector).as_object().cloned().unwrap_or_default()
            }
        };
        if chosen.is_empty() {
            return Err(VerbError::wrong("couldn't retrieve selectors via --selector flag or introspection: the object has no labels"));
        }
        let ports = self.ports(&of)?;
        let mut spec = json!({"ports": ports, "selector": chosen});
        if let Some(of_type) = &self.of_type {
            spec["type"] = of_type.clone().into();
        }
        let name = self.name.clone().unwrap_or(target.name);
        let mut service = object("v1", "Service", &name, json!({"spec": spec, "status": {"loadBalancer": {}}}));
        if let Some(labels) = of["metadata"].get("labels") {
            service["metadata"]["labels"] = labels.clone();
        }
        self.making.make(session, service, "exposed", out).await
    }

    fn ports(&self, of: &Value) -> Result<Vec<Value>, VerbError> {
        let target = |port: u16| match &self.target_port {
            Some(text) => text.parse::<u16>().map_or_else(|_| Value::from(text.clone()), Value::from),
            None => port.into(),
        };
        if let Some(port) = self.port {
            return Ok(vec![json!({"port": port, "protocol": self.protocol, "targetPort": target(port)})]);
        }
        let containers = ["/spec/containers", "/spec/template/spec/containers"].iter().find_map(|path| of.pointer(path)?.as_array());
        let of_pods = containers.into_iter().flatten().flat_map(|container| container["ports"].as_array().into_iter().flatten());
        let of_service = of.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
        let found: Vec<(u16, String)> = of_pods
            .map(|port| (port, "containerPort"))
            .chain(of_service.map(|port| (port, "port")))
            .filter_map(|(port, field)| Some((u16::try_from(port.get(field)?.as_u64()?).ok()?, text(port, "/protocol"))))
            .collect();
        if found.is_empty() {
            return Err(VerbError::wrong("couldn't find port via --port flag or introspection"));
        }
        let several = found.len() > 1;
        let made = |(at, (port, protocol)): (usize, (u16, String))| {
            let protocol = if protocol.is_empty() { self.protocol.clone() } else { protocol };
            let mut made = json!({"port": port, "protocol": protocol, "targetPort": target(port)});
            if several {
                made["name"] = format!("port-{}", at + 1).into();
            }
            made
        };
        Ok(found.into_iter().enumerate().map(made).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_called_after_their_image() {
        for (image, name) in [("registry.example/a/kubia:1.0", "kubia"), ("nginx", "nginx"), ("a/my_app@sha256:00", "my-app")] {
            assert_eq!(container_name(image), name);
        }
    }
}
