//! A model of the tile registers that interprets the text of the programs, instruction by instruction, as Intel's
//! *Architecture Instruction Set Extensions Programming Reference* describes them; for tests.

use super::tiles::{Config, Operands, Program, TILE_BYTES, TILE_K, listing};

/// The tile registers, the general registers that a program names, and the zero flag.
struct Machine {
    /// (rows, bytes a row) of each tile
    shapes: [(usize, usize); 8],
    tiles: [[u8; TILE_BYTES]; 8],
    registers: Vec<(&'static str, usize)>,
    zero: bool,
}

/// Runs a program; its memory must be what [`super::tiles::run`] asks for.
pub(super) fn run(program: Program, operands: &Operands) {
    let (text, registers) = listing(program, operands);
    let lines: Vec<&str> = text.lines().collect();
    let mut machine = Machine { shapes: [(0, 0); 8], tiles: [[0; TILE_BYTES]; 8], registers, zero: false };
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
        let arguments: Vec<&str> = arguments.split(", ").collect();
        match name {
            "jnz" if machine.zero => {}
            "jnz" => at = lines.iter().position(|line| *line == "2:").expect("the label"),
            "2:" => {}
            _ => machine.execute(name, &arguments),
        }
    }
    assert!(machine.shapes == [(0, 0); 8], "the tiles are released");
}

impl Machine {
    fn execute(&mut self, name: &str, arguments: &[&str]) {
        match (name, arguments) {
            ("ldtilecfg", [from]) => self.configure(self.address(from).0),
            ("tileloadd", [into, from]) => self.load(tile(into), self.address(from)),
            ("tilestored", [into, from]) => self.store(self.address(into), tile(from)),
            ("tdpbsud", [c, a, b]) => self.multiply(tile(c), tile(a), tile(b)),
            ("tilerelease", _) => self.shapes = [(0, 0); 8],
            ("add", [to, what]) => *self.register(to) += self.value(what),
            ("dec", [what]) => {
                let value = self.register(what);
                *value -= 1;
                self.zero = *value == 0;
            }
            _ => panic!("{name} {arguments:?} is not an instruction of the model"),
        }
    }

    /// `[{base} + {stride}*1 + displacement]`: the address, and the stride.
    fn address(&self, text: &str) -> (usize, usize) {
        let mut parts = text.trim_matches(['[', ']']).split(" + ");
        let base = self.value(parts.next().expect("a base"));
        let stride = parts.next().map_or(0, |stride| self.value(stride.trim_end_matches("*1")));
        (base + parts.next().map_or(0, |displacement| self.value(displacement)), stride)
    }

    fn value(&self, text: &str) -> usize {
        let name = text.trim_matches(['{', '}']);
        let register = self.registers.iter().find(|(register, _)| *register == name);
        register.map_or_else(|| text.parse().expect("a number"), |(_, value)| *value)
    }

    fn register(&mut self, text: &str) -> &mut usize {
        let name = text.trim_matches(['{', '}']);
        &mut self.registers.iter_mut().find(|(register, _)| *register == name).expect("a register").1
    }

    fn configure(&mut self, from: usize) {
        assert!(size_of::<Config>() == 64);
        // SAFETY: the operand `config` is the address of 64 bytes.
        let bytes = unsafe { *(from as *const [u8; 64]) };
        assert!(
            bytes[0] == 1 && bytes[1..16].iter().chain(&bytes[32..48]).chain(&bytes[56..]).all(|b| *b == 0)
        );
        for (i, shape) in self.shapes.iter_mut().enumerate() {
            let row_bytes = usize::from(u16::from_le_bytes([bytes[16 + 2 * i], bytes[17 + 2 * i]]));
            *shape = (usize::from(bytes[48 + i]), row_bytes);
            assert!((1..=16).contains(&shape.0) && (1..=64).contains(&shape.1));
        }
        self.tiles = [[0; TILE_BYTES]; 8];
    }

    fn load(&mut self, tile: usize, (at, stride): (usize, usize)) {
        let (rows, row_bytes) = self.shapes[tile];
        self.tiles[tile] = [0; TILE_BYTES];
        for (row, into) in self.tiles[tile].chunks_exact_mut(TILE_K).enumerate().take(rows) {
            // SAFETY: the operands' rows can be read, by their promise.
            let from = unsafe { std::slice::from_raw_parts((at + row * stride) as *const u8, row_bytes) };
            into[..row_bytes].copy_from_slice(from);
        }
    }

    fn store(&self, (at, stride): (usize, usize), tile: usize) {
        let (rows, row_bytes) = self.shapes[tile];
        for (row, from) in self.tiles[tile].chunks_exact(TILE_K).enumerate().take(rows) {
            // SAFETY: the operands' rows can be written, by their promise.
            let into = unsafe { std::slice::from_raw_parts_mut((at + row * stride) as *mut u8, row_bytes) };
            into.copy_from_slice(&from[..row_bytes]);
        }
    }

    /// `c[m][n] += Σ_k Σ_i a[m][4k + i]·b[k][4n + i]`, a signed and b unsigned.
    fn multiply(&mut self, c: usize, a: usize, b: usize) {
        let ((rows, columns), (a_rows, depth), (b_rows, b_columns)) =
            (self.shapes[c], self.shapes[a], self.shapes[b]);
        assert!(rows == a_rows && columns == b_columns && depth == 4 * b_rows, "shapes that raise #UD");
        for (m, n) in (0..rows).flat_map(|m| (0..columns / 4).map(move |n| (m, n))) {
            let at = m * TILE_K + 4 * n;
            let product = |k: usize| {
                let (a, b) =
                    (self.tiles[a][m * TILE_K + k] as i8, self.tiles[b][k / 4 * TILE_K + 4 * n + k % 4]);
                i32::from(a) * i32::from(b)
            };
            let sum: i32 = (0..depth).map(product).sum();
            let into = &mut self.tiles[c][at..at + 4];
            let old = i32::from_le_bytes([into[0], into[1], into[2], into[3]]);
            into.copy_from_slice(&old.wrapping_add(sum).to_le_bytes());
        }
    }
}

fn tile(text: &str) -> usize {
    text.trim_start_matches("tmm").parse().expect("the number of a tile")
}
