//! Healthy specimens: nothing may be found in them.

use crate::base::{Base, export_hf, open};
use crate::edit::{file, gguf};
use crate::{Specimen, codes};
use checkpoint::OpenOptions;
use checkpoint::gguf as dialect;
use checkpoint::hf::Storing;
use formats::quant;
use std::path::{Path, PathBuf};

/// All of them.
pub static SPECIMENS: &[Specimen] = &[
    healthy("the trained run", |base, _| base.run()),
    healthy("its last checkpoint", |base, _| base.checkpoint()),
    healthy("its log alone", |base, _| base.path("run/metrics.jsonl")),
    healthy("its configuration alone", |base, _| base.path("run/config.toml")),
    healthy("exported to Hugging Face, packed", |base, _| base.hf()),
    healthy("exported to Hugging Face, packed with inverse scales", |base, _| base.path("inverted")),
    healthy("exported to Hugging Face, latent weights", |base, _| base.path("online")),
    healthy("ternary weights exported to Hugging Face as online", |base, dir| {
        let out = dir.join("online");
        export_hf(&base.ternary(), &out, Storing::Online);
        out
    }),
    healthy("exported to GGUF, I2_S", |base, _| base.gguf()),
    healthy("exported to GGUF, F16", |base, dir| {
        let options =
            dialect::Options { format: &quant::F16, embedding: &quant::F16, quantize: false, widen: false };
        let out = dir.join("model.gguf");
        dialect::export(&open(&base.run()), &out, &options, &mut ()).unwrap();
        out
    }),
    healthy("GGUF with garbage behind its scales, as a C writer leaves it", |base, dir| {
        gguf(
            base,
            dir,
            |_| (),
            |_, format, content| {
                if format.name() == "I2_S" {
                    let tail = content.len() - 28;
                    content[tail..].fill(0xcd);
                }
            },
        )
    }),
    healthy("imported from the Hugging Face folder", |base, dir| import(base.hf(), dir)),
    healthy("a dense Llama of random weights", dense),
    healthy("a part of our configuration, to be laid over a preset", |_, dir| {
        file(
            dir,
            "run.toml",
            "[train]\nsteps = 5000\nbatch = 16\n\n[schedule]\nkind = \"microsoft\"\npeak = 1.5e-3\n",
        )
    }),
    healthy("the official recipe of 700M parameters (YAML)", |_, dir| {
        let text = "learning_rate: 0.0015\nlr_schedule: two-stage\nmax_steps: 100000\nwarmup_steps: 375\nweight_decay: 0.1\n\
                stage2_weight_decay: 0.0\noptimizer: adamw\nadam_beta2: 0.95\nmax_grad_norm: 1.0\ndataset: redpajama\n\
                num_parameters: 700000000\n";
        file(dir, "official.yaml", text)
    }),
];

const fn healthy(name: &'static str, make: fn(&Base, &Path) -> PathBuf) -> Specimen {
    Specimen { name, findings: &[], make }
}

fn import(from: PathBuf, dir: &Path) -> PathBuf {
    let out = dir.join("imported");
    checkpoint::import(&open(&from), &out, &mut ()).unwrap();
    out
}

/// The shape of a small SmolLM2, dense.
fn dense(_: &Base, dir: &Path) -> PathBuf {
    let text = "[model]\nhidden = 64\nlayers = 3\nheads = 4\nkv_heads = 2\nhead_size = 16\nffn = 160\nvocabulary = 300\n\
        context = 64\nactivation = \"silu\"\nsub_norms = false\nlinear = \"dense\"\ntied = true\n";
    let config: model::Config = toml::from_str(text.strip_prefix("[model]\n").unwrap()).unwrap();
    let mut weights = model::Weights::random(&config, 1);
    weights.data.iter_mut().for_each(|weight| *weight *= 4.0);
    let native = dir.join("native");
    let parts = checkpoint::native::Parts {
        config: text,
        tokenizer: None,
        chat_template: None,
        weights: &checkpoint::arena::tensors(&weights.layout, "", &weights.data),
        optimizer: &[],
        recorded: &[],
        state: &serde_json::json!({}),
    };
    checkpoint::native::save(&native, &parts).unwrap();
    let out = dir.join("llama");
    export_hf(&open(&native), &out, Storing::Dense);
    out
}

/// Models of others, which nobody here trained; they lie in the shared data.
#[test]
fn others_models_raise_no_alarm() {
    let Some(data) = testkit::shared_data() else {
        println!("skipped: 1 test needs shared/data (models)");
        return;
    };
    let tokenizer = data.join("models/bitllama2/tokenizer.json");
    let options = OpenOptions { tokenizer: Some(tokenizer.clone()), ..OpenOptions::default() };
    let bitllama = data.join("models/bitllama2/bitllama-3M.bin");
    let dir = tempfile::tempdir().unwrap();
    let loaded = checkpoint::open_with(&bitllama, &options).unwrap();
    let mut paths =
        vec![(bitllama, options.clone()), (data.join("models/stories260K/stories260K.bin"), options)];
    for format in [&quant::I2_S as &dyn quant::BlockFormat, &quant::TQ2_0, &quant::TQ1_0] {
        let out = dir.path().join(format!("{}.gguf", format.name()));
        let options = dialect::Options { format, embedding: &quant::F16, quantize: false, widen: false };
        dialect::export(&loaded, &out, &options, &mut ()).unwrap();
        paths.push((out, OpenOptions::default()));
    }
    for (path, options) in paths {
        assert_eq!(codes(&path, &options), [], "{}", path.display());
    }
}
