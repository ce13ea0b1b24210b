//! Groups of one to five ranks as threads: sums in the order of the ranks, and every piece where it belongs.

use cluster::{Group, Op, local, piece};

/// Runs `rank` on every rank of a group and returns what each gave, in order.
fn each<R: Send>(size: usize, rank: impl Fn(Group) -> R + Sync) -> Vec<R> {
    let rank = &rank;
    std::thread::scope(|scope| {
        let threads: Vec<_> = local::group(size)
            .into_iter()
            .map(|end| scope.spawn(move || rank(Group::join(|| Ok::<_, ()>(end)).unwrap())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Values whose sum depends on the order of addition.
fn values(rank: usize, len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32.wrapping_add(rank as u32);
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 * 10f32.powi((state >> 4) as i32 % 9 - 4) - 5e5
    };
    (0..len).map(|_| draw()).collect()
}

#[test]
fn a_sum_has_the_order_of_the_ranks() {
    for (size, len) in [(1, 5), (2, 7), (3, 1000), (5, 3), (4, 0)] {
        let mut expected = values(0, len);
        for rank in 1..size {
            expected.iter_mut().zip(values(rank, len)).for_each(|(sum, part)| *sum += part);
        }
        let all = each(size, |mut group| {
            let rank = group.rank();
            group.submit(Op::Reduce, values(rank, len));
            let mut bucket = group.take();
            let own = piece(len, rank, size);
            assert_eq!(bucket[own.clone()], expected[own.clone()], "{size} ranks, rank {rank}");
            let kept = bucket[own.clone()].to_vec();
            bucket.fill(f32::NAN);
            bucket[own].copy_from_slice(&kept);
            group.submit(Op::Gather, bucket);
            let bucket = group.take();
            group.finish();
            bucket
        });
        assert!(all.iter().all(|bucket| *bucket == expected), "{size} ranks, {len} elements");
    }
}

#[test]
fn rank_0_collects_what_it_distributed() {
    for (size, len) in [(1, 4), (2, 5), (3, 100), (5, 2)] {
        let all = each(size, |mut group| {
            let rank = group.rank();
            group.submit(Op::Distribute, if rank == 0 { values(0, len) } else { vec![f32::NAN; len] });
            let distributed = group.take();
            group.submit(Op::Broadcast, if rank == 0 { values(1, len) } else { vec![f32::NAN; len] });
            assert_eq!(group.take(), values(1, len));
            group.submit(Op::Collect, distributed);
            let collected = group.take();
            group.finish();
            collected
        });
        assert_eq!(all[0], values(0, len), "{size} ranks");
    }
}

#[test]
fn small_sums_and_texts_are_the_same_everywhere() {
    let sums = each(3, |mut group| {
        let rank = group.rank();
        let text = group.broadcast(if rank == 0 { b"hello".to_vec() } else { b"who, me?".to_vec() });
        assert_eq!(text, b"hello");
        assert_eq!(group.broadcast(Vec::new()), b"");
        let sums = group.sum([0.1 * (rank + 1) as f64, f64::from(rank == 2)]);
        group.finish();
        sums
    });
    assert_eq!(sums, [[0.1 + 0.2 + 0.1 * 3.0, 1.0]; 3]);
}

#[test]
fn buckets_come_back_in_order() {
    each(2, |mut group| {
        (1..9).for_each(|len| group.submit(Op::Reduce, vec![1.0; len]));
        for len in 1..9 {
            let bucket = if len % 2 == 0 { group.take() } else { loop_until(&mut group) };
            assert_eq!(bucket.len(), len);
        }
        assert_eq!((group.under_way(), group.try_take()), (0, None));
        group.finish();
    });
}

fn loop_until(group: &mut Group) -> Vec<f32> {
    loop {
        match group.try_take() {
            Some(bucket) => return bucket,
            None => std::thread::yield_now(),
        }
    }
}
