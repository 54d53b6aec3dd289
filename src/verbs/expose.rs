//! `expose`: a service for pods.

use clap::Args;
use serde_json::{Value, json};

use crate::error::VerbError;
use crate::making::{Making, object};
use crate::pods::text;
use crate::session::{Out, Session};

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
