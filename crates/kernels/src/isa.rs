//! Which vector instructions this machine has, and [`multiversion!`](crate::multiversion), which compiles one plain function for each of them.

use std::sync::OnceLock;

/// An instruction set the kernels are written for, in order of preference: a greater one includes the lesser ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust for the target's baseline.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, VL, DQ and VNNI (with AVX2 and FMA).
    Avx512,
}

const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

impl Isa {
    /// The best instruction set of this machine; looked up once.
    #[inline]
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(look_up)
    }

    /// Every instruction set this machine has, the plainest first.
    pub fn supported() -> &'static [Isa] {
        match Isa::detect() {
            Isa::Scalar => &ALL[..1],
            Isa::Avx2 => &ALL[..2],
            Isa::Avx512 => &ALL,
        }
    }

    /// Whether this machine has it.
    #[inline]
    pub fn is_supported(self) -> bool {
        self <= Isa::detect()
    }

    /// `scalar`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn look_up() -> Isa {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return Isa::Scalar;
    }
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni");
    if avx512 { Isa::Avx512 } else { Isa::Avx2 }
}

#[cfg(not(target_arch = "x86_64"))]
fn look_up() -> Isa {
    Isa::Scalar
}

/// Compiles plain functions three times (baseline, AVX2, AVX-512) and picks one at run time.
///
/// For each `fn name(args) -> R { body }` it makes `name(args)`, which takes the best version the machine has, and
/// `name::on(isa, args)`, which takes the version asked for, so that tests can compare them. None of the versions may
/// contract a multiplication and an addition, so all of them give the same bits; `mul_add` is a slow library call in the
/// baseline. Reductions vectorise only where the body keeps several partial sums of its own.
///
/// ```
/// kernels::multiversion! {
///     /// x ← by·x.
///     pub fn scale(x: &mut [f32], by: f32) {
///         for v in x {
///             *v *= by;
///         }
///     }
/// }
/// let mut x = [1.0, 2.0];
/// scale(&mut x, 3.0);
/// assert_eq!(x, [3.0, 6.0]);
/// ```
#[macro_export]
macro_rules! multiversion {
    ($( $(#[$meta:meta])* $vis:vis fn $name:ident ( $($arg:ident : $ty:ty),* $(,)? ) $(-> $ret:ty)? $body:block )*) => { $(
        $(#[$meta])*
        #[inline]
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            $name::on($crate::isa::Isa::detect(), $($arg),*)
        }

        #[doc(hidden)]
        #[allow(missing_docs, unused_imports, clippy::too_many_arguments)]
        $vis mod $name {
            use super::*;

            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { body($($arg),*) }

            pub fn on(isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
                assert!(isa.is_supported(), "this machine lacks {}", isa.name());
                match isa {
                    // SAFETY: the assertion above found the instructions this version was compiled for.
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx512 => unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                    _ => body($($arg),*),
                }
            }
        }
    )* };
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::multiversion! {
        /// Returns Σ a·b in 16 partial sums.
        fn dot(a: &[f32], b: &[f32]) -> f32 {
            let mut sums = [0.0f32; 16];
            for (a, b) in a.chunks(16).zip(b.chunks(16)) {
                for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
                    *s += a * b;
                }
            }
            sums.iter().sum()
        }

        fn negate(x: &mut [f32]) {
            for v in x {
                *v = -*v;
            }
        }
    }

    #[test]
    fn versions_give_the_same_bits() {
        let a: Vec<f32> = (0..1003).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..1003).map(|i| (i as f32 * 0.11).cos()).collect();
        let plain = dot::on(Isa::Scalar, &a, &b);
        for &isa in Isa::supported() {
            assert_eq!(dot::on(isa, &a, &b).to_bits(), plain.to_bits(), "{}", isa.name());
            let mut x = a.clone();
            negate::on(isa, &mut x);
            assert!(x.iter().zip(&a).all(|(x, a)| *x == -*a));
        }
        assert_eq!(dot(&a, &b).to_bits(), plain.to_bits());
        let mut x = [1.0];
        negate(&mut x);
        assert_eq!(x, [-1.0]);
    }

    #[test]
    fn supported_ends_with_the_detected_one() {
        assert_eq!(Isa::supported().last(), Some(&Isa::detect()));
        assert!(Isa::supported().iter().all(|isa| isa.is_supported()));
        assert!(Isa::Scalar.is_supported());
    }
}
