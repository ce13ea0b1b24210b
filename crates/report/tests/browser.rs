//! The page in headless Chromium, opened from its file: no error in the console, every section and chart there, no sideways
//! scrolling on a phone, cursor and zoom by keyboard. Skips where there is no Chromium. Leaves pictures in `target/artefacts`.

mod common;

use common::run;
use report::section::SECTIONS;
use report::weights::Histograms;
use report::{RunData, page};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Runs in the page after its own script.
const VISIT: &str = include_str!("visit.js");

fn chromium() -> Option<&'static str> {
    NAMES
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success()))
}

fn browse(browser: &str, profile: &Path, file: &Path, width: u32, arguments: &[&str]) -> Output {
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ]);
    command.args([
        "--disable-background-networking",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("--window-size={width},2400")).args(arguments);
    command.arg(format!("file://{}", file.display())).output().expect("the browser starts")
}

fn artefacts() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder in target");
    let dir = target.join("artefacts");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// What the script in a dumped page said.
fn verdict(dom: &str) -> Option<&str> {
    dom.split_once("data-visited=\"")?.1.split('"').next()
}

/// A page in a frame of `width` pixels: a headless window is never narrower than 500.
fn framed(html: &str, width: u32) -> String {
    let html = html.replace('&', "&amp;").replace('"', "&quot;");
    let copy = "onload = () => document.body.dataset.visited = frames[0].document.body.dataset.visited";
    format!(
        "<body style='margin:0'><iframe style='width:{width}px;height:2400px;border:0' srcdoc=\"{html}\"></iframe><script>{copy}</script></body>"
    )
}

#[test]
fn the_page_opens_from_its_file_without_an_error() {
    let Some(browser) = chromium() else {
        testkit::skip("1 test needs Chromium");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let weights = model::Weights::random(&model::presets::model("tiny").unwrap(), 1);
    let runs = ["study", "again"].map(|name| {
        let mut data = RunData::read(run(&dir.path().join(name)).dir()).unwrap();
        data.histograms = Some(Histograms::of(&weights, "step-00000400".into()).unwrap());
        data
    });
    let (profile, artefacts) = (dir.path().join("profile"), artefacts());
    for (name, runs) in [("report", &runs[..1]), ("report-compare", &runs[..])] {
        let plain = artefacts.join(format!("{name}.html"));
        let html = page(runs, false);
        std::fs::write(&plain, &html).unwrap();
        let visited = dir.path().join(format!("{name}-visited.html"));
        std::fs::write(&visited, html.replace("</body>", &format!("<script>{VISIT}</script></body>")))
            .unwrap();
        let kinds = [("wide", 1280), ("phone", 500)];
        for (kind, width) in kinds.into_iter().take(3 - runs.len()) {
            let Output { stdout, stderr, .. } = browse(browser, &profile, &visited, width, &["--dump-dom"]);
            let (dom, log) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            let console: Vec<&str> = log.lines().filter(|line| line.contains(":CONSOLE")).collect();
            assert!(console.is_empty(), "{name}, {kind}: {console:?}");
            assert_eq!(verdict(&dom), Some("sound"), "{name}, {kind}: {log}");
            for section in SECTIONS {
                assert!(dom.contains(&format!("<section id=\"{}\"", section.id())), "{}", section.id());
            }
            for chart in [
                "loss",
                "bits-per-byte",
                "lr",
                "weight-decay",
                "lambda",
                "grad-norm",
                "tokens-per-s",
                "memory-bytes",
                "unique-tokens",
                "output-entropy",
                "state",
            ] {
                assert!(dom.contains(&format!("id=\"chart-{chart}\"")), "{name}: chart-{chart}");
            }
            assert!(dom.contains("id=\"heat-zero-share-0\"") && dom.contains("id=\"weights-down-0\""));
            let picture = format!("--screenshot={}", artefacts.join(format!("{name}-{kind}.png")).display());
            browse(browser, &profile, &plain, width, &[&picture]);
            assert!(
                artefacts.join(format!("{name}-{kind}.png")).metadata().is_ok_and(|file| file.len() > 10_000)
            );
        }
        for width in [320, 390] {
            let frame = dir.path().join("framed.html");
            let html = std::fs::read_to_string(&visited).unwrap();
            std::fs::write(&frame, framed(&html, width)).unwrap();
            let picture = format!("--screenshot={}", artefacts.join(format!("{name}-{width}.png")).display());
            let Output { stdout, stderr, .. } = browse(browser, &profile, &frame, 500, &["--dump-dom"]);
            browse(browser, &profile, &frame, 500, &[&picture]);
            let (dom, log) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            assert_eq!(verdict(&dom), Some("sound"), "{name}, {width} pixels: {log}");
        }
    }
}
