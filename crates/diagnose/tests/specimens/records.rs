//! Sick recipes and logs.

use crate::Specimen;
use crate::edit::{file, log, with_state};
use serde_json::{Value, json};

/// A line's number of the log.
fn number(line: &serde_json::Map<String, Value>, key: &str) -> Option<f64> {
    line.get(key).and_then(Value::as_f64)
}

/// The configuration of an official run, to be changed.
const RECIPE: &str = "learning_rate: 0.0015\nlr_schedule: two-stage\nmax_steps: 10000\nwarmup_steps: 375\nweight_decay: 0.1\n\
    stage2_weight_decay: 0.0\noptimizer: adamw\nadam_beta2: 0.95\nmax_grad_norm: 1.0\ndataset: fineweb-edu\n";

/// All of them.
pub fn specimens() -> impl Iterator<Item = &'static Specimen> {
    [RECIPES, STATES, LOGS].into_iter().flatten()
}

static RECIPES: &[Specimen] = &[
    Specimen {
        name: "configuration: weight decay 0.05 in stage 2",
        findings: &["T101"],
        make: |_, dir| {
            file(dir, "run.yaml", &RECIPE.replace("stage2_weight_decay: 0.0", "stage2_weight_decay: 0.05"))
        },
    },
    Specimen {
        name: "configuration: Adam with coupled L2",
        findings: &["T105"],
        make: |_, dir| file(dir, "run.yaml", &RECIPE.replace("adamw", "torch.optim.Adam")),
    },
    Specimen {
        name: "configuration: rate ten times too high, no warm-up, no clipping",
        findings: &["T107", "T108"],
        make: |_, dir| {
            let text = RECIPE
                .replace("0.0015", "0.015")
                .replace("375", "0")
                .replace("max_grad_norm: 1.0", "max_grad_norm: 0");
            file(dir, "run.yaml", &text)
        },
    },
    Specimen {
        name: "configuration: TinyStories only",
        findings: &["T112"],
        make: |_, dir| file(dir, "run.yaml", &RECIPE.replace("fineweb-edu", "roneneldan/TinyStories")),
    },
    Specimen {
        name: "configuration: an evaluation every 20 of 10000 steps",
        findings: &["T109"],
        make: |_, dir| file(dir, "run.yaml", &format!("{RECIPE}eval_steps: 20\n")),
    },
    Specimen {
        name: "configuration: latent weights averaged (EMA)",
        findings: &["T110"],
        make: |_, dir| file(dir, "run.yaml", &format!("{RECIPE}ema_decay: 0.999\n")),
    },
    Specimen {
        name: "configuration: cross-entropy without weight",
        findings: &["T113"],
        make: |_, dir| file(dir, "run.yaml", &format!("objectives:\n  continue_pretrain: 0.0\n{RECIPE}")),
    },
    Specimen {
        name: "configuration: Llama-3 quantised at once",
        findings: &["T104", "T114"],
        make: |_, dir| {
            file(
                dir,
                "run.yaml",
                &format!("{RECIPE}model_name_or_path: meta-llama/Meta-Llama-3-8B\nmin_lambda: 1.0\n"),
            )
        },
    },
    Specimen {
        name: "configuration: λ ends at 0.6",
        findings: &["T204"],
        make: |_, dir| file(dir, "run.yaml", &format!("{RECIPE}max_lambda: 0.6\n")),
    },
    Specimen {
        name: "configuration of nanotron: cosine, weight decay to the end",
        findings: &["T101"],
        make: |_, dir| {
            let text = "optimizer:\n  weight_decay: 0.1\n  clip_grad: 1.0\n  optimizer_factory:\n    name: adamW\n  \
                    learning_rate_scheduler:\n    learning_rate: 3.0e-4\n    lr_decay_style: cosine\n    lr_warmup_steps: 100\n\
                    tokens:\n  train_steps: 5000\n  sequence_length: 2048\n";
            file(dir, "config.yaml", text)
        },
    },
    Specimen {
        name: "configuration of DeepSpeed: Adam with adam_w_mode off",
        findings: &["T101", "T105"],
        make: |_, dir| {
            let params = json!({"lr": 3e-4, "weight_decay": 0.1, "adam_w_mode": false});
            let config =
                json!({"train_micro_batch_size_per_gpu": 4, "optimizer": {"type": "Adam", "params": params}});
            file(dir, "ds_config.json", &config.to_string())
        },
    },
    Specimen {
        name: "configuration of ours, to be laid over a preset: weight decay 0.05 in stage 2, coupled L2",
        findings: &["T101", "T105"],
        make: |_, dir| {
            let text = "[train]\nsteps = 5000\noptimizer = \"adam\"\n\n[schedule]\nkind = \"microsoft\"\nweight_decay2 = 0.05\n";
            file(dir, "run.toml", text)
        },
    },
    Specimen {
        name: "configuration of ours that contradicts itself",
        findings: &["T501"],
        make: |_, dir| {
            let model = "[model]\nhidden = 64\nlayers = 1\nheads = 3\nkv_heads = 2\nhead_size = 16\nffn = 128\nvocabulary = 64\ncontext = 32\n";
            file(dir, "run.toml", model)
        },
    },
];

static STATES: &[Specimen] = &[
    Specimen {
        name: "checkpoint of step 0 with an infinite best loss (trainer_state.json)",
        findings: &["T201", "T203"],
        make: |base, dir| with_state(base, dir, json!({"global_step": 0, "best_eval_loss": "Infinity"})),
    },
    Specimen {
        name: "checkpoint at 38 % of its 10B tokens",
        findings: &["T202"],
        make: |base, dir| {
            let path = with_state(base, dir, json!({"global_step": 3600}));
            let arguments = json!({"per_device_train_batch_size": 32, "gradient_accumulation_steps": 16,
                    "max_seq_length": 2048, "target_tokens": 1e10});
            file(&path, "training_args.json", &arguments.to_string());
            path
        },
    },
    Specimen {
        name: "checkpoint whose λ stopped at 0.6",
        findings: &["T204"],
        make: |base, dir| {
            with_state(base, dir, json!({"global_step": 5000, "max_steps": 5000, "lambda": 0.6}))
        },
    },
    Specimen {
        name: "log (CSV): weight decay 0.05 in stage 2, the collapse study's curve",
        findings: &["T101", "T102"],
        make: |_, dir| {
            file(dir, "args.json", &json!({"max_steps": 1000, "lr_schedule": "two_stage"}).to_string());
            let line = |t: u64| {
                let x = t as f64;
                let rate = match t {
                    0..50 => 1.5e-3 * x / 50.0,
                    50..500 => 1.5e-3 - 0.5e-3 * (x - 50.0) / 450.0,
                    _ => 1e-3 * (1000.0 - x) / 500.0,
                };
                format!("{t},{},{rate},{}\n", 8.0 - x / 300.0, if t < 500 { 0.1 } else { 0.05 })
            };
            let lines: String = (0..1000).map(line).collect();
            file(dir, "log.csv", &format!("step,train/loss,learning_rate,weight_decay\n{lines}"));
            dir.to_owned()
        },
    },
];

static LOGS: &[Specimen] = &[
    Specimen {
        name: "run: loss NaN from step 200 to 210",
        findings: &["T301"],
        make: |base, dir| {
            log(base, dir, |step, line| {
                if (200..210).contains(&step) {
                    line["loss"] = Value::Null;
                }
            })
        },
    },
    Specimen {
        name: "run: a spike at step 250",
        findings: &["T302"],
        make: |base, dir| {
            log(base, dir, |step, line| {
                if step == 250 {
                    line["loss"] = json!(15.0);
                }
            })
        },
    },
    Specimen {
        name: "run: loss at ln V to the end",
        findings: &["T303"],
        make: |base, dir| log(base, dir, |_, line| line["loss"] = json!(512f64.ln())),
    },
    Specimen {
        name: "run: loss at the unigram entropy to the end",
        findings: &["T304"],
        make: |base, dir| {
            let facts = std::fs::read_to_string(base.path("run/run.json")).unwrap();
            let facts: Value = serde_json::from_str(&facts).unwrap();
            let entropy = facts["unigram_entropy"].as_f64().unwrap();
            log(base, dir, move |_, line| line["loss"] = json!(entropy))
        },
    },
    Specimen {
        name: "run: two distinct answers, one favourite",
        findings: &["T305", "T306"],
        make: |base, dir| {
            log(base, dir, |_, line| {
                if line.contains_key("unique_tokens") {
                    line["unique_tokens"] = json!(2);
                    line["repetition"] = json!(0.98);
                }
            })
        },
    },
    Specimen {
        name: "run: stage 2 ends above stage 1",
        findings: &["T307"],
        make: |base, dir| {
            log(base, dir, |step, line| {
                if step >= 160 {
                    line["loss"] = json!(number(line, "loss").unwrap() + 2.0);
                }
            })
        },
    },
    Specimen {
        name: "run: codes flip as much at the end",
        findings: &["T308"],
        make: |base, dir| {
            log(base, dir, |_, line| {
                if line.contains_key("flip_rate") {
                    line["flip_rate"] = json!([0.1, 0.1, 0.1]);
                }
            })
        },
    },
    Specimen {
        name: "run: the gradient explodes in the last steps",
        findings: &["T309"],
        make: |base, dir| {
            log(base, dir, |step, line| {
                if step >= 290 {
                    line["grad_norm"] = json!(1000.0);
                }
            })
        },
    },
    Specimen {
        name: "run: the log is another run's (weight decay 0.05 in stage 2)",
        findings: &["T101", "T103"],
        make: |base, dir| {
            log(base, dir, |step, line| {
                if step >= 160 {
                    line["weight_decay"] = json!(0.05);
                }
            })
        },
    },
    Specimen {
        name: "run: two runs in one log",
        findings: &["T103", "T205"],
        make: |base, dir| {
            log(base, dir, |step, line| {
                if step >= 315 {
                    line["step"] = json!(step - 200);
                }
            })
        },
    },
    Specimen {
        name: "run: a loss of 0.05 nats",
        findings: &["T311"],
        make: |base, dir| {
            log(base, dir, |step, line| line["loss"] = json!((6.2 * (1.0 - step as f64 / 290.0)).max(0.05)))
        },
    },
];
