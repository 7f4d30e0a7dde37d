//! What rounds come to: ratios with their spread, and what noise alone makes of them.

use crate::impact::spread;

/// One run of the agent.
pub struct Run {
    /// From the start of the process until its last row was received.
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub peak_mib: f64,
}

/// The limit tool and the agent twice, one right after another.
pub struct Round {
    pub limit_seconds: f64,
    pub first: Run,
    pub second: Run,
}

pub fn print(case: &str, limit: &str, rows: u64, rounds: &[Round]) {
    let rows = rows as f64;
    let all = |of: fn(&Run) -> f64| -> Vec<f64> {
        let both = rounds
            .iter()
            .flat_map(|round| [&round.first, &round.second]);
        both.map(of).collect()
    };
    let ratio = |of: fn(&Round) -> f64| spread(rounds.iter().map(of).collect());
    println!(
        "\n| {case}, {rows} rows, {} rounds | median (least to most) |\n|---|---|",
        rounds.len()
    );
    println!(
        "| agent's speed against {limit}'s | {} |",
        ratio(|round| {
            let agent = f64::midpoint(round.first.seconds, round.second.seconds);
            round.limit_seconds / agent
        })
    );
    println!(
        "| control: the agent against itself | {} |",
        ratio(|round| round.first.seconds / round.second.seconds)
    );
    let rates = all(|run| run.seconds)
        .iter()
        .map(|s| rows / s / 1000.0)
        .collect();
    println!("| agent, thousand rows/s | {} |", spread(rates));
    let limits = rounds
        .iter()
        .map(|round| rows / round.limit_seconds / 1000.0);
    println!(
        "| {limit}, thousand rows/s | {} |",
        spread(limits.collect())
    );
    let each = all(|run| run.cpu_seconds)
        .iter()
        .map(|s| s * 1e6 / rows)
        .collect();
    println!("| agent, processor time per row, µs | {} |", spread(each));
    println!(
        "| agent, peak memory, MiB | {} |",
        spread(all(|run| run.peak_mib))
    );
}
