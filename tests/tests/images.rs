//! `images/pack`: an archive that depends on its input alone, in the layouts that Docker and containerd read.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const PACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../images/pack");

fn pack(folder: &Path, out: &str, more: &[&str]) -> std::process::Output {
    let mut command = Command::new(PACK);
    command.args(["--name", "registry.test/tool:1", "--entrypoint", "/bin/tool run", "--user", "65532:65532", "--label", "a=b"]);
    command.args(["--out", out]).args(more).current_dir(folder);
    command.output().expect("python3 starts")
}

/// A folder with a program and a file.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("tool"), "#!/bin/sh\n").expect("the folder can be written");
    std::fs::write(folder.path().join("notes"), "text").expect("the folder can be written");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(folder.path().join("tool"), executable).expect("the file is ours");
    folder
}

/// One file of the archive.
fn member(folder: &Path, archive: &str, name: &str) -> Vec<u8> {
    let output = Command::new("tar").args(["-xOf", archive, name]).current_dir(folder).output().expect("tar starts");
    assert!(output.status.success(), "{name} is in {archive}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn json(folder: &Path, archive: &str, name: &str) -> Value {
    serde_json::from_slice(&member(folder, archive, name)).expect("the file is JSON")
}

#[test]
fn equal_input_makes_an_equal_archive() {
    let folder = folder();
    let path = folder.path();
    assert!(pack(path, "one.tar", &["tool=/bin/tool", "notes=/share/notes"]).status.success());
    // Times, the order of arguments and the umask's part of the mode are no input.
    let touched = Command::new("touch").args(["-d", "2001-02-03", "tool", "notes"]).current_dir(path).status();
    assert!(touched.expect("touch starts").success());
    std::fs::set_permissions(path.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("the file is ours");
    assert!(pack(path, "two.tar", &["notes=/share/notes", "tool=/bin/tool"]).status.success());
    let read = |name: &str| std::fs::read(path.join(name)).expect("the archive is there");
    assert!(read("one.tar") == read("two.tar"), "the archives differ");
}

#[test]
fn both_layouts_name_the_same_configuration() {
    let folder = folder();
    let path = folder.path();
    assert!(pack(path, "image.tar", &["tool=/bin/tool", "notes=/share/notes"]).status.success());

    let index = json(path, "image.tar", "index.json");
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "registry.test/tool:1");
    let blob = |digest: &Value| format!("blobs/sha256/{}", digest.as_str().expect("a digest is text").trim_start_matches("sha256:"));
    let manifest = json(path, "image.tar", &blob(&index["manifests"][0]["digest"]));
    let docker = json(path, "image.tar", "manifest.json");
    assert_eq!(docker[0]["Config"], blob(&manifest["config"]["digest"]));
    assert_eq!(docker[0]["RepoTags"][0], "registry.test/tool:1");

    let config = json(path, "image.tar", &blob(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/bin/tool", "run"]));
    assert_eq!(config["config"]["Labels"]["a"], "b");
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);

    std::fs::write(path.join("layer.tar"), member(path, "image.tar", &blob(&manifest["layers"][0]["digest"])))
        .expect("the folder can be written");
    let listed = Command::new("tar").args(["-tvf", "layer.tar", "--numeric-owner"]).current_dir(path).output().expect("tar starts");
    let mut lines = String::new();
    listed.stdout.as_slice().read_to_string(&mut lines).expect("the names are text");
    let seen: Vec<_> =
        lines.lines().map(|line| (&line[..10], line.contains(" 0/0 "), line.rsplit(' ').next().unwrap_or_default())).collect();
    assert_eq!(
        seen,
        [
            ("drwxr-xr-x", true, "bin/"),
            ("-rwxr-xr-x", true, "bin/tool"),
            ("drwxr-xr-x", true, "share/"),
            ("-rw-r--r--", true, "share/notes")
        ]
    );
}

#[test]
fn what_cannot_be_packed_is_told_and_leaves_no_archive() {
    let folder = folder();
    for arguments in [&["missing=/bin/tool"][..], &["tool"], &[]] {
        let output = pack(folder.path(), "bad.tar", arguments);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{arguments:?}");
        assert!(!folder.path().join("bad.tar").exists(), "{arguments:?}");
    }
}
