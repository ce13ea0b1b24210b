//! Metadata values: twelve types and arrays of them.

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array, all of one type. An array of arrays may hold different types of them.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// What is done with the elements of an array, whatever their type.
macro_rules! each {
    ($array:expr, $elements:ident => $do:expr) => {
        match $array {
            Array::U8($elements) => $do,
            Array::I8($elements) => $do,
            Array::U16($elements) => $do,
            Array::I16($elements) => $do,
            Array::U32($elements) => $do,
            Array::I32($elements) => $do,
            Array::F32($elements) => $do,
            Array::Bool($elements) => $do,
            Array::String($elements) => $do,
            Array::Array($elements) => $do,
            Array::U64($elements) => $do,
            Array::I64($elements) => $do,
            Array::F64($elements) => $do,
        }
    };
}

/// The types' names, at their numbers in the file.
const NAMES: [&str; 13] =
    ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "text", "array", "u64", "i64", "f64"];

impl Value {
    /// The type's number in the file.
    pub fn number(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::Array(_) => 9,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// The number of an integer value that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(number) => Some(number.into()),
            Self::U16(number) => Some(number.into()),
            Self::U32(number) => Some(number.into()),
            Self::U64(number) => Some(number),
            Self::I8(number) => number.try_into().ok(),
            Self::I16(number) => number.try_into().ok(),
            Self::I32(number) => number.try_into().ok(),
            Self::I64(number) => number.try_into().ok(),
            _ => None,
        }
    }

    /// What it is, for an error sentence: `a u32`, `an array of 5 × text`.
    pub fn describe(&self) -> String {
        match self {
            Self::Array(array) => format!("an array of {} × {}", array.len(), NAMES[array.number() as usize]),
            other => format!("the type {}", NAMES[other.number() as usize]),
        }
    }

    /// Appends the value as the file has it, without its type's number.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(number) => out.push(*number),
            Self::I8(number) => out.extend(number.to_le_bytes()),
            Self::U16(number) => out.extend(number.to_le_bytes()),
            Self::I16(number) => out.extend(number.to_le_bytes()),
            Self::U32(number) => out.extend(number.to_le_bytes()),
            Self::I32(number) => out.extend(number.to_le_bytes()),
            Self::F32(number) => out.extend(number.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::String(text) => write_text(text, out),
            Self::Array(array) => array.write(out),
            Self::U64(number) => out.extend(number.to_le_bytes()),
            Self::I64(number) => out.extend(number.to_le_bytes()),
            Self::F64(number) => out.extend(number.to_le_bytes()),
        }
    }
}

impl Array {
    /// The number of the elements' type in the file.
    pub fn number(&self) -> u32 {
        match self {
            Self::U8(_) => 0,
            Self::I8(_) => 1,
            Self::U16(_) => 2,
            Self::I16(_) => 3,
            Self::U32(_) => 4,
            Self::I32(_) => 5,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::String(_) => 8,
            Self::Array(_) => 9,
            Self::U64(_) => 10,
            Self::I64(_) => 11,
            Self::F64(_) => 12,
        }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        each!(self, elements => elements.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as i32, when they are integers that fit.
    pub fn as_i32s(&self) -> Option<Vec<i32>> {
        fn all<T: Copy + TryInto<i32>>(numbers: &[T]) -> Option<Vec<i32>> {
            numbers.iter().map(|&number| number.try_into().ok()).collect()
        }
        match self {
            Self::U8(numbers) => all(numbers),
            Self::I8(numbers) => all(numbers),
            Self::U16(numbers) => all(numbers),
            Self::I16(numbers) => all(numbers),
            Self::U32(numbers) => all(numbers),
            Self::I32(numbers) => all(numbers),
            Self::U64(numbers) => all(numbers),
            Self::I64(numbers) => all(numbers),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) | Self::Array(_) => None,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.number().to_le_bytes());
        out.extend((self.len() as u64).to_le_bytes());
        match self {
            Self::U8(bytes) => out.extend(bytes),
            Self::Bool(values) => out.extend(values.iter().map(|&value| u8::from(value))),
            Self::String(texts) => texts.iter().for_each(|text| write_text(text, out)),
            Self::Array(arrays) => arrays.iter().for_each(|array| array.write(out)),
            Self::I8(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::U16(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::I16(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::U32(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::I32(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::F32(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::U64(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::I64(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
            Self::F64(numbers) => out.extend(bytemuck::cast_slice::<_, u8>(numbers)),
        }
    }
}

/// A text as the file has it: u64 length in bytes, UTF-8.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.bytes());
}

macro_rules! from {
    ($($type:ty => $make:expr),* $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                $make(value)
            }
        })*
    };
}

from! {
    u32 => Value::U32,
    u64 => Value::U64,
    i32 => Value::I32,
    f32 => Value::F32,
    bool => Value::Bool,
    String => Value::String,
    &str => |text: &str| Value::String(text.to_owned()),
    Array => Value::Array,
    Vec<String> => |texts| Value::Array(Array::String(texts)),
    Vec<f32> => |numbers| Value::Array(Array::F32(numbers)),
    Vec<i32> => |numbers| Value::Array(Array::I32(numbers)),
}
