use super::*;

#[test]
fn a_list_keeps_the_greatest_and_breaks_ties_by_name() {
    let check = |limit: usize, offers: &[(u64, &str)], want: &[(&str, u64)]| {
        let mut list = TopList::new(limit);
        offers.iter().for_each(|(n, name)| list.offer(*n, name));
        let top = list.into_top();
        assert_eq!(top.iter().map(|(name, n)| (name.as_str(), *n)).collect::<Vec<_>>(), want);
    };
    check(2, &[], &[]);
    check(0, &[(1, "a")], &[]);
    check(2, &[(0, "a"), (1, "b")], &[("b", 1)]);
    check(2, &[(1, "c"), (1, "b"), (1, "a"), (1, "d")], &[("a", 1), ("b", 1)]);
    check(2, &[(1, "a"), (2, "b"), (3, "c")], &[("c", 3), ("b", 2)]);
}

#[test]
fn passes_part_all_hashes() {
    for passes in 1..7 {
        for hash in [0, 1, u64::MAX / 3, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let of = (0..passes).filter(|pass| Pass { pass: *pass, passes }.has(hash)).count();
            assert_eq!(of, 1, "{hash} of {passes}");
        }
    }
}
