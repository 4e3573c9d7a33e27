package main

import (
	"strings"
	"testing"
	"time"
)

// distantRun is a run over one kind of link with the same figures in each round, times a drift.
func distantRun(figuresOf map[string]float64) *distance {
	d := &distance{rounds: 3, seconds: time.Second, link: far{rate: 1000, tcp: "cubic", buffer: 1 << 20}}
	run := &distant{far: links()[1], sent: 1000, link: carried{Lost: 1}}
	for _, name := range []string{noTunnel, gcmUDP, wireguardGo} {
		r := &row{contender: contender{name: name}, trial: &trial{who: name}}
		for round := range 3 {
			r.figures.set(farOne, round, figuresOf[name]*float64(round+1))
		}
		run.rows = append(run.rows, r)
	}
	d.runs = []*distant{run}
	return d
}

func TestDistanceIsJudgedByRounds(t *testing.T) {
	figures := map[string]float64{noTunnel: 100e6, gcmUDP: 89e6, wireguardGo: 80e6}
	for _, c := range []struct {
		name   string
		change func(*distance)
		want   []string
	}{
		{"as measured", func(*distance) {}, []string{
			"20ms, 0.1 % lost, one: at least 0.9 × no tunnel | 0.89 | **FAIL** |", "one: at least 1 × wireguard-go | 1.11 | pass |",
			"| aes128gcm16 udp | 178 | 0.89 |", "lost 0.100 % of 1000 packets",
		}},
		{"a busy machine", func(d *distance) { d.foreign = 1 }, []string{"the bars are not judged", "0.89 | not judged |"}},
		{"a link that was too slow", func(d *distance) { d.runs[0].link.Overrun = 1 }, []string{"this table is void", "0.89 | void |"}},
	} {
		d := distantRun(figures)
		c.change(d)
		text := d.markdown()
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the table lacks %q:\n%s", c.name, want, text)
			}
		}
	}
}

func TestPlanOfDistance(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        func(*distance) bool
	}{
		{"BENCH_SECONDS", "2.5", func(d *distance) bool { return d.seconds == 2500*time.Millisecond }},
		{"BENCH_ROUNDS", "2", func(d *distance) bool { return d.rounds == 2 }},
		{"BENCH_LINK", "0", func(d *distance) bool { return d.link.rate == 0 }},
		{"BENCH_TCP", "bbr", func(d *distance) bool { return d.link.tcp == "bbr" }},
		{"BENCH_QUEUE", "5ms", func(d *distance) bool { return d.link.queue == 5*time.Millisecond }},
		{"BENCH_LINK", "fast", nil},
		{"BENCH_SECONDS", "-1", nil},
		{"BENCH_QUEUE", "long", nil},
		{"BENCH_AT", "(", nil},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			d, err := planDistance()
			if c.want == nil {
				if err == nil {
					t.Error("it was taken")
				}
				return
			}
			if err != nil || !c.want(d) {
				t.Errorf("%+v, %v", d, err)
			}
			if whole := d.whole(); whole {
				t.Error("its table would take the place of a whole run's")
			}
		})
	}
	d, err := planDistance()
	if err != nil || !d.whole() || d.rounds != 10 || d.seconds != 30*time.Second {
		t.Errorf("without any choice: %+v, %v", d, err)
	}
}
