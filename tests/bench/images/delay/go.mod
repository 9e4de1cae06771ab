module muster/bench/delay

go 1.24.0
