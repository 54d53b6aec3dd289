//! `coracle image`: images without a registry.

use std::process::ExitCode;

use serde_json::json;

use super::arguments::{Global, Image};
use super::control;
use super::failure::Failure;

pub(crate) async fn run(global: &Global, command: Image) -> Result<ExitCode, Failure> {
    let client = control::running(global).await?;
    match command {
        Image::Load { file } => {
            let failed = |error| Failure::new(format!("cannot read {}", file.display()), error);
            let file = std::fs::canonicalize(&file).map_err(failed)?;
            let body = json!({"file": file}).to_string().into_bytes();
            let loaded = control::call(&client, "POST", "/images", body).await?;
            for name in loaded["loaded"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str) {
                println!("loaded {name}");
            }
        }
        Image::List => {
            let answer = control::call(&client, "GET", "/images", Vec::new()).await?;
            print_images(&answer["images"]);
        }
        Image::Rm { name } => {
            let query: String = name.bytes().map(control::encoded).collect();
            control::call(&client, "DELETE", &format!("/images?name={query}"), Vec::new()).await?;
            println!("removed {name}");
        }
        Image::Build { name, programs } => {
            // a bare name is looked for on the path, by the process that makes the image
            let place = |program: &std::path::PathBuf| {
                if program.components().count() > 1 { std::path::absolute(program) } else { Ok(program.clone()) }
            };
            let absolute = programs.iter().map(place).collect::<Result<Vec<_>, _>>();
            let programs = absolute.map_err(|error| Failure::new("a program's path", error))?;
            let body = json!({"name": name, "programs": programs}).to_string().into_bytes();
            control::call(&client, "POST", "/images/build", body).await?;
            println!("built {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_images(images: &serde_json::Value) {
    println!("{:<48} {:<14} {:>10}", "NAME", "ID", "SIZE");
    for image in images.as_array().into_iter().flatten() {
        let id = image["id"].as_str().unwrap_or_default().trim_start_matches("sha256:");
        let size = image["size"].as_f64().unwrap_or_default() / 1e6;
        let names: Vec<&str> = image["tags"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        for name in if names.is_empty() { vec!["<none>"] } else { names } {
            println!("{name:<48} {:<14} {size:>7.1} MB", id.get(..12).unwrap_or(id));
        }
    }
}
