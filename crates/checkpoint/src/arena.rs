//! Between a network's flat arena and named tensors: weights under their own names, the optimiser's moments under a
//! prefix (`m.layers.0.q`).

use crate::native::{SCALE_SUFFIX, Tensor};
use crate::table::{Form, Place, Table};
use formats::safetensors::{Dtype, File};
use formats::{FileError, Kind, nearest};
use model::layout::Named;
use model::{Config, Layout};
use std::collections::{HashMap, HashSet};

/// The tensors of `arena`, laid out by `layout`, each under `prefix` + its name.
///
/// # Panics
/// When the arena is not as long as the layout says.
pub fn tensors<'a>(layout: &Layout, prefix: &str, arena: &'a [f32]) -> Vec<Tensor<'a>> {
    assert_eq!(arena.len(), layout.len(), "elements of the arena");
    let tensor = |named: &Named| Tensor {
        name: format!("{prefix}{}", named.name),
        shape: named.shape(),
        data: named.slot.of(arena),
    };
    layout.tensors().iter().map(tensor).collect()
}

/// Checks that `file` holds `tensors` once under each of `prefixes`, in their shapes, and no others.
pub fn check(file: &File, tensors: &[Named], prefixes: &[&str]) -> Result<(), FileError> {
    let unfit = |what: String| {
        let remedy = "use the configuration the file was written with";
        FileError::new(file.path(), Kind::Unfit, what, remedy)
    };
    let present: HashSet<&str> = file.tensors().map(|tensor| tensor.name.as_str()).collect();
    let mut expected = HashSet::new();
    for prefix in prefixes {
        for named in tensors {
            let name = format!("{prefix}{}", named.name);
            if !present.contains(name.as_str()) {
                let hint = nearest::nearest(&name, present.iter().copied())
                    .map_or(String::new(), |n| format!(" (nearest there: '{n}')"));
                return Err(unfit(format!("tensor '{name}' is missing{hint}")));
            }
            let (shape, needed) = (&file.info(&name)?.shape, named.shape());
            if *shape != needed {
                let what = format!("tensor '{name}' has shape {shape:?}, and the network needs {needed:?}");
                return Err(unfit(what));
            }
            expected.insert(name);
        }
    }
    if let Some(extra) = file.tensors().find(|tensor| !expected.contains(&tensor.name)) {
        return Err(strange(file, &extra.name, &expected));
    }
    Ok(())
}

/// The network of `config` in `file`, under our own names: values, or codes (I8) with their scale beside them.
pub(crate) fn table(config: Config, file: File) -> Result<Table, FileError> {
    let layout = Layout::new(&config);
    let mut places = HashMap::new();
    let mut expected = HashSet::new();
    for named in layout.tensors() {
        let (rows, cols) = (named.slot.rows, named.slot.cols);
        let form = match file.info(&named.name)?.dtype {
            Dtype::I8 => {
                let name = format!("{}{SCALE_SUFFIX}", named.name);
                if file.info(&name)?.shape != [1] {
                    let what = format!("tensor '{name}' is not one number, as a scale is");
                    return Err(FileError::damaged(file.path(), what, "write the checkpoint again"));
                }
                let mut scale = [0.0];
                file.f32_into(&name, 0, &mut scale)?;
                expected.insert(name);
                Form::Codes { scale: scale[0] }
            }
            _ => Form::Float,
        };
        places.insert(named.name.clone(), Place { file: 0, stored: named.name.clone(), rows, cols, form });
        expected.insert(named.name.clone());
    }
    if let Some(extra) = file.tensors().find(|tensor| !expected.contains(&tensor.name)) {
        return Err(strange(&file, &extra.name, &expected));
    }
    Table::new(config, vec![file], places)
}

fn strange(file: &File, name: &str, expected: &HashSet<String>) -> FileError {
    let hint = nearest::nearest(name, expected.iter().map(String::as_str))
        .map_or(String::new(), |n| format!(" (nearest in the network: '{n}')"));
    let what = format!("tensor '{name}' has no place in the network{hint}");
    FileError::new(file.path(), Kind::Unfit, what, "use the configuration the file was written with")
}

/// Copies the tensors of `file` under `prefix` into `arena`; [`check`] has been called with that prefix.
///
/// # Panics
/// When the arena is not as long as the layout says.
pub fn read(file: &File, layout: &Layout, prefix: &str, arena: &mut [f32]) -> Result<(), FileError> {
    assert_eq!(arena.len(), layout.len(), "elements of the arena");
    for named in layout.tensors() {
        let values = file.f32(&format!("{prefix}{}", named.name))?;
        named.slot.of_mut(arena).copy_from_slice(&values);
    }
    Ok(())
}
