//! Sick models.

use crate::Specimen;
use crate::edit::{bytes, codes, config_json, gguf, heavy_tailed, latent, safetensors, scales};
use formats::gguf::Value as Metadata;
use formats::quant::{BlockFormat, I2_S, I2_S_ARM, TernaryFormat};
use formats::safetensors::Dtype;
use serde_json::json;

/// All of them.
pub fn specimens() -> impl Iterator<Item = &'static Specimen> {
    [TENSORS, CONVERSIONS, FOLDERS, FILES].into_iter().flatten()
}

/// Bytes of an I2_S tensor in ARM's layout; others stay.
fn as_arm(format: &'static dyn BlockFormat, content: &mut [u8]) {
    if format.name() != I2_S.name() {
        return;
    }
    let packed = content.len() - I2_S.tail_bytes();
    let mut codes = vec![0; packed * 4];
    I2_S.codes(content, 0, &mut codes).unwrap();
    I2_S_ARM.encode_codes(&codes, 1.0, &mut content[..packed]).unwrap();
}

/// γT of latent weights.
fn rounded(values: &[f32]) -> Vec<f32> {
    let scale = model::quantize::weight_scale(values);
    let mut codes = vec![0; values.len()];
    model::quantize::ternarise(values, scale, &mut codes);
    codes.into_iter().map(|code| scale * f32::from(code)).collect()
}

/// Rows of a head as the interleaved pairing wants them.
fn permuted(row: usize, head: usize) -> usize {
    let (start, i) = (row / head * head, row % head);
    start + if i % 2 == 0 { i / 2 } else { head / 2 + i / 2 }
}

static TENSORS: &[Specimen] = &[
    Specimen {
        name: "model: codes by sign(w), no zeros",
        findings: &["T403"],
        make: |base, dir| {
            codes(base, dir, |_, row, codes| {
                for (at, code) in codes.iter_mut().enumerate().filter(|(_, code)| **code == 0) {
                    *code = if (at * 7 + row * 13) % 2 == 0 { 1 } else { -1 };
                }
            })
        },
    },
    Specimen {
        name: "model: codes by max|w|, 97 % zeros",
        findings: &["T404"],
        make: |base, dir| {
            codes(base, dir, |_, row, codes| {
                codes
                    .iter_mut()
                    .enumerate()
                    .filter(|(at, _)| (at * 31 + row * 17) % 24 != 0)
                    .for_each(|(_, code)| *code = 0);
            })
        },
    },
    Specimen {
        name: "model: codes read with an offset of one",
        findings: &["T403", "T405"],
        make: |base, dir| {
            codes(base, dir, |_, _, codes| {
                codes.iter_mut().for_each(|code| *code = if *code == 1 { -1 } else { 1 })
            })
        },
    },
    Specimen {
        name: "model: every other row was never written",
        findings: &["T406"],
        make: |base, dir| {
            codes(base, dir, |_, row, codes| {
                if row % 2 == 1 {
                    codes.fill(0);
                }
            })
        },
    },
    Specimen {
        name: "model: q, k, v and gate, up quantised fused",
        findings: &["T412"],
        make: |base, dir| {
            scales(base, dir, |name, scale| {
                let layer = name.split('.').nth(1).and_then(|layer| layer.parse::<f32>().ok()).unwrap_or(0.0);
                match name.rsplit('.').next() {
                    Some("q" | "k" | "v") => 0.05 + layer / 1000.0,
                    Some("gate" | "up") => 0.055 + layer / 1000.0,
                    _ => scale,
                }
            })
        },
    },
    Specimen {
        name: "model: one weight is NaN",
        findings: &["T401"],
        make: |base, dir| {
            latent(base, dir, |weights, _, _| {
                let slot = weights.layout.blocks[1].projection(model::Projection::Up);
                slot.of_mut(&mut weights.data)[77] = f32::NAN;
            })
        },
    },
    Specimen {
        name: "model: the last layer is the first again",
        findings: &["T414"],
        make: |base, dir| {
            latent(base, dir, |weights, _, _| {
                for projection in model::Projection::ALL {
                    let first = weights.layout.blocks[0].projection(projection).of(&weights.data).to_vec();
                    weights.layout.blocks[2]
                        .projection(projection)
                        .of_mut(&mut weights.data)
                        .copy_from_slice(&first);
                }
            })
        },
    },
    Specimen {
        name: "model: the final norm's gain was not written",
        findings: &["T415"],
        make: |base, dir| {
            latent(base, dir, |weights, _, _| weights.layout.final_norm.of_mut(&mut weights.data).fill(0.0))
        },
    },
    Specimen {
        name: "model: freshly initialised, without a state",
        findings: &["T201"],
        make: |base, dir| {
            latent(base, dir, |weights, _, state| {
                *weights = model::Weights::random(&weights.config, 3);
                *state = json!({"imported_from": "nowhere"});
            })
        },
    },
    Specimen { name: "model: dense weights under a BitNet's name", findings: &["T402"], make: heavy_tailed },
];

static CONVERSIONS: &[Specimen] = &[
    Specimen {
        name: "conversion: scales inverted (1/γ where γ is read)",
        findings: &["P105", "T409"],
        make: |base, dir| scales(base, dir, |_, scale| scale.recip()),
    },
    Specimen {
        name: "conversion: SiLU for squared ReLU",
        findings: &["P104"],
        make: |base, dir| {
            gguf(base, dir, |keys| set(keys, "bitnet-b1.58.hidden_act", Metadata::from("silu")), |_, _, _| ())
        },
    },
    Specimen {
        name: "conversion: I2_S in ARM's layout",
        findings: &["P106"],
        make: |base, dir| gguf(base, dir, |_| (), |_, format, content| as_arm(format, content)),
    },
    Specimen {
        name: "conversion: q and k permuted as for llama",
        findings: &["P109"],
        make: |base, dir| {
            gguf(
                base,
                dir,
                |_| (),
                |name, format, content| {
                    if name.contains("attn_q.") || name.contains("attn_k.") {
                        let packed = content.len() - I2_S.tail_bytes();
                        let mut codes = vec![0; packed * 4];
                        I2_S.codes(content, 0, &mut codes).unwrap();
                        let mut turned = codes.clone();
                        for row in 0..codes.len() / 128 {
                            let from = permuted(row, 32);
                            turned[row * 128..][..128].copy_from_slice(&codes[from * 128..][..128]);
                        }
                        format.ternary().unwrap().encode_codes(&turned, 1.0, &mut content[..packed]).unwrap();
                    }
                },
            )
        },
    },
    Specimen {
        name: "conversion: dequantised weights, to be quantised again",
        findings: &["T411"],
        make: |base, dir| {
            safetensors(&base.path("online"), dir, |entries| {
                for entry in entries.iter_mut().filter(|entry| entry.0.ends_with("_proj.weight")) {
                    let words = entry.3.as_chunks::<4>().0.iter();
                    let values: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
                    entry.3 = bytes(&rounded(&values));
                }
            })
        },
    },
    Specimen {
        name: "conversion: ternary weights, dense activations",
        findings: &["T416"],
        make: |base, dir| {
            latent(base, dir, |weights, config, _| {
                *config = config.replace("linear = \"ternary\"", "linear = \"dense\"");
                let layout = weights.layout.clone();
                for named in layout.tensors().iter().filter(|named| named.is_projection()) {
                    let values = named.slot.of_mut(&mut weights.data);
                    let quantised = rounded(values);
                    values.copy_from_slice(&quantised);
                }
            })
        },
    },
];

fn set(keys: &mut Vec<(String, Metadata)>, key: &str, value: Metadata) {
    keys.retain(|(known, _)| known != key);
    keys.push((key.to_owned(), value));
}

static FOLDERS: &[Specimen] = &[
    Specimen {
        name: "folder: sub-norms are missing",
        findings: &["T410", "T501"],
        make: |base, dir| {
            safetensors(&base.hf(), dir, |entries| entries.retain(|entry| !entry.0.contains("sub_norm")))
        },
    },
    Specimen {
        name: "folder: weight_scale is missing",
        findings: &["T407", "T501"],
        make: |base, dir| {
            safetensors(&base.hf(), dir, |entries| entries.retain(|entry| !entry.0.ends_with("scale")))
        },
    },
    Specimen {
        name: "folder: a scale is NaN",
        findings: &["T408", "T501"],
        make: |base, dir| {
            safetensors(&base.hf(), dir, |entries| {
                let scale = entries.iter_mut().find(|entry| entry.0.ends_with("scale")).unwrap();
                scale.3 = if scale.1 == Dtype::F32 { bytes(&[f32::NAN]) } else { vec![0xff, 0x7f] };
            })
        },
    },
    Specimen {
        name: "folder: the activation is not said",
        findings: &["T504"],
        make: |base, dir| config_json(&base.hf(), dir, |config| drop(config.remove("hidden_act"))),
    },
    Specimen {
        name: "folder: an activation that no ternary model has",
        findings: &["T501", "T504"],
        make: |base, dir| config_json(&base.hf(), dir, |config| config["hidden_act"] = json!("gelu")),
    },
    Specimen {
        name: "folder: packed weights without quantization_config",
        findings: &["T501", "T508"],
        make: |base, dir| config_json(&base.hf(), dir, |config| drop(config.remove("quantization_config"))),
    },
    Specimen {
        name: "folder: packed weights called online",
        findings: &["T501", "T509"],
        make: |base, dir| {
            config_json(&base.hf(), dir, |config| {
                config["quantization_config"]["quantization_mode"] = json!("online")
            })
        },
    },
    Specimen {
        name: "folder: linear_class bitlinear over stored γ",
        findings: &["P105", "T409"],
        make: |base, dir| {
            config_json(&base.hf(), dir, |config| {
                config["quantization_config"]["linear_class"] = json!("bitlinear")
            })
        },
    },
    Specimen {
        name: "folder: float16 with squared ReLU",
        findings: &["T111"],
        make: |base, dir| config_json(&base.hf(), dir, |config| config["torch_dtype"] = json!("float16")),
    },
    Specimen {
        name: "folder: one row more than the tokenizer has tokens",
        findings: &["T502"],
        make: |base, dir| {
            let path = safetensors(&base.hf(), dir, |entries| {
                let table =
                    entries.iter_mut().find(|entry| entry.0.ends_with("embed_tokens.weight")).unwrap();
                let row = table.3.len() / table.2[0];
                let last = table.3[table.3.len() - row..].to_vec();
                table.2[0] += 1;
                table.3.extend(last);
            });
            edit_vocabulary(&path, 513);
            path
        },
    },
    Specimen {
        name: "folder: the embedding was cut below the tokenizer",
        findings: &["T503"],
        make: |base, dir| {
            let path = safetensors(&base.hf(), dir, |entries| {
                let table =
                    entries.iter_mut().find(|entry| entry.0.ends_with("embed_tokens.weight")).unwrap();
                let row = table.3.len() / table.2[0];
                table.2[0] = 448;
                table.3.truncate(448 * row);
            });
            edit_vocabulary(&path, 448);
            path
        },
    },
];

fn edit_vocabulary(folder: &std::path::Path, size: usize) {
    let file = folder.join("config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["vocab_size"] = json!(size);
    std::fs::write(file, config.to_string()).unwrap();
}

static FILES: &[Specimen] = &[
    Specimen {
        name: "GGUF: no pre-tokenizer",
        findings: &["T506"],
        make: |base, dir| {
            gguf(base, dir, |keys| keys.retain(|(key, _)| key != "tokenizer.ggml.pre"), |_, _, _| ())
        },
    },
    Specimen {
        name: "GGUF: no end of text",
        findings: &["T507"],
        make: |base, dir| {
            gguf(base, dir, |keys| keys.retain(|(key, _)| !key.ends_with("eos_token_id")), |_, _, _| ())
        },
    },
    Specimen {
        name: "GGUF: architecture bitnet without an activation",
        findings: &["P104", "T504"],
        make: |base, dir| {
            gguf(
                base,
                dir,
                |keys| {
                    keys.retain(|(key, _)| !key.ends_with("hidden_act"));
                    for (key, value) in keys.iter_mut() {
                        *key = key.replace("bitnet-b1.58.", "bitnet.");
                        if key == "general.architecture" {
                            *value = Metadata::from("bitnet");
                        }
                    }
                },
                |_, _, _| (),
            )
        },
    },
    Specimen {
        name: "GGUF: codes 3 in the packed weights",
        findings: &["T501", "T505"],
        make: |base, dir| {
            gguf(
                base,
                dir,
                |_| (),
                |name, _, content| {
                    if name == "blk.1.ffn_up.weight" {
                        content[100] = 0xff;
                    }
                },
            )
        },
    },
    Specimen {
        name: "GGUF: the scale behind a tensor was not written",
        findings: &["T408"],
        make: |base, dir| {
            gguf(
                base,
                dir,
                |_| (),
                |name, _, content| {
                    if name == "blk.0.attn_output.weight" {
                        let tail = content.len() - I2_S.tail_bytes();
                        content[tail..].fill(0);
                    }
                },
            )
        },
    },
    Specimen {
        name: "GGUF: the file is cut",
        findings: &["T501"],
        make: |base, dir| {
            let whole = std::fs::read(base.gguf()).unwrap();
            let path = dir.join("model.gguf");
            std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            path
        },
    },
    Specimen {
        name: "checkpoint: its weights were changed after it was written",
        findings: &["T501"],
        make: |base, dir| {
            let path = dir.join("checkpoint");
            crate::base::copy(&base.checkpoint(), &path);
            let file = path.join("weights.safetensors");
            let mut content = std::fs::read(&file).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 0x40;
            std::fs::write(file, content).unwrap();
            path
        },
    },
];
