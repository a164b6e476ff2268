//! Both cores in one small world: messages late or lost, sockets that end at any moment, and inputs nobody asked for.

mod random;
mod tally;
mod world;

use tally::Tally;
use world::World;

#[test]
fn whatever_happens_the_tables_return_to_empty_and_the_counts_agree() {
    let mut reached = Tally::default();
    for seed in 0..250 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
            world.relay.check_counts();
            world.target.check_counts();
        }
        world.wind_down();
        let tally = world.tally;
        assert_eq!(tally.joined, tally.ended, "seed {seed}: each joined pair ends once");
        assert_eq!(
            tally.verified, tally.target_records,
            "seed {seed}: each verified connection has its record"
        );
        assert!(
            tally.relay_records.is_subset(&tally.verified),
            "seed {seed}: nothing else counts at the relay"
        );
        reached.add(tally);
    }
    // The world must reach what it is about, or the test shows nothing.
    assert!(reached.joined > 1000 && reached.ready > 300, "{} {}", reached.joined, reached.ready);
    assert!(reached.handed_over > 50, "{} pairs were handed over", reached.handed_over);
    assert!(reached.relay_records.len() > 300 && reached.refused > 50, "{}", reached.refused);
}

#[test]
fn a_world_is_the_same_for_the_same_seed() {
    let run = |seed| {
        let mut world = World::new(seed);
        (0..300).for_each(|_| world.step());
        (world.tally.joined, world.tally.ready, world.tally.refused, world.random.0)
    };
    assert_eq!(run(7), run(7));
}
