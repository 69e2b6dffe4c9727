// main.go - load for an etcd cluster, measured as cairn bench measures: closed loop, the same keys, the same JSON.
// SPDX-License-Identifier: Apache-2.0
//
// etcd speaks gRPC; this uses its own Go client, as programs that use etcd do. Requests of several clients share a
// connection where there are fewer connections than clients: gRPC multiplexes, and that is cheaper for both sides.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

var (
	endpoints   = flag.String("endpoints", "127.0.0.1:2379", "members; connections are spread over them")
	clients     = flag.Int("clients", 64, "clients, each with one request open")
	connections = flag.Int("connections", 8, "connections that they share")
	keys        = flag.Uint64("keys", 1000000, "different keys, chosen uniformly")
	valueSize   = flag.Int("value-size", 256, "bytes of a value")
	readPercent = flag.Uint64("read-percent", 50, "share of reads; they are linearizable")
	seconds     = flag.Float64("seconds", 5, "how long")
	fill        = flag.Bool("fill", false, "only write each key once, 100 in a transaction")
	gap         = flag.Bool("gap", false, "only write, with 500 ms for each request, on connections that know all members; print the longest time without a success")
)

const (
	fillBatch  = 100
	timeout    = 10 * time.Second
	gapTimeout = 500 * time.Millisecond
	pauseAfter = 2 * time.Millisecond // an error
)

// sample is one success.
type sample struct {
	took  time.Duration
	ended time.Duration // since the start
	write bool
}

type worker struct {
	client  *clientv3.Client
	rng     uint64
	value   string
	samples []sample
	errors  int
	first   error
}

func key(number uint64) string { return fmt.Sprintf("bench:%012d", number) }

func (w *worker) random() uint64 {
	w.rng ^= w.rng << 13
	w.rng ^= w.rng >> 7
	w.rng ^= w.rng << 17
	return w.rng
}

func (w *worker) failed(err error) {
	w.errors++
	if w.first == nil {
		w.first = err
	}
	time.Sleep(pauseAfter)
}

// runFill takes batches until there is none left.
func (w *worker) runFill(next *uint64) {
	for {
		from := atomic.AddUint64(next, fillBatch) - fillBatch
		if from >= *keys {
			return
		}
		var ops []clientv3.Op
		for n := from; n < from+fillBatch && n < *keys; n++ {
			ops = append(ops, clientv3.OpPut(key(n), w.value))
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		_, err := w.client.Txn(ctx).Then(ops...).Commit()
		cancel()
		if err != nil {
			w.failed(err)
		}
	}
}

func (w *worker) run(start, end time.Time) {
	limit := timeout
	if *gap {
		limit = gapTimeout
	}
	for {
		before := time.Now()
		if !before.Before(end) {
			return
		}
		k := key(w.random() % *keys)
		write := *gap || w.random()%100 >= *readPercent
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		var err error
		if write {
			_, err = w.client.Put(ctx, k, w.value)
		} else {
			_, err = w.client.Get(ctx, k)
		}
		cancel()
		if err != nil {
			w.failed(err)
			continue
		}
		after := time.Now()
		w.samples = append(w.samples, sample{after.Sub(before), after.Sub(start), write})
	}
}

// connect opens the connections and uses each once, so that connecting is not measured.
func connect() ([]*clientv3.Client, error) {
	members := strings.Split(*endpoints, ",")
	opened := make([]*clientv3.Client, *connections)
	for i := range opened {
		to := []string{members[i%len(members)]}
		if *gap {
			to = append(append([]string{}, members[i%len(members):]...), members[:i%len(members)]...)
		}
		c, err := clientv3.New(clientv3.Config{Endpoints: to, DialTimeout: timeout})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		_, err = c.Get(ctx, "ready")
		cancel()
		if err != nil {
			return nil, err
		}
		opened[i] = c
	}
	return opened, nil
}

type row struct {
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Max       float64 `json:"max_us"`
}

func rowOf(samples []sample) row {
	var took []time.Duration
	inTime := 0 // as cairn bench does it, the rate is made of what was answered before the end
	for _, s := range samples {
		took = append(took, s.took)
		if s.ended.Seconds() <= *seconds {
			inTime++
		}
	}
	n := len(took)
	if n == 0 {
		return row{}
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	return row{n, float64(inTime) / *seconds, us(took[(n-1)/2]), us(took[(n-1)*99/100]), us(took[n-1])}
}

func print(result interface{}) {
	text, err := json.Marshal(result)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(text))
}

func report(workers []*worker, elapsed float64, errors int, first error) {
	var reads, writes, all []sample
	for _, w := range workers {
		for _, s := range w.samples {
			if s.write {
				writes = append(writes, s)
			} else {
				reads = append(reads, s)
			}
			all = append(all, s)
		}
	}
	text := ""
	if first != nil {
		text = first.Error()
	}
	print(map[string]interface{}{"seconds": elapsed, "clients": *clients, "connections": *connections,
		"reads": rowOf(reads), "writes": rowOf(writes), "all": rowOf(all), "errors": errors, "first_error": text})
}

func reportGap(workers []*worker, errors int) {
	end := time.Duration(*seconds * 1e9)
	var at []time.Duration
	for _, w := range workers {
		for _, s := range w.samples {
			at = append(at, s.ended)
		}
	}
	writes := len(at)
	at = append(at, end) // what never went on counts too
	sort.Slice(at, func(i, j int) bool { return at[i] < at[j] })
	var longest, from time.Duration
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] > longest {
			longest, from = at[i]-at[i-1], at[i-1]
		}
	}
	print(map[string]interface{}{"gap_ms": longest.Seconds() * 1e3, "at_s": from.Seconds(), "writes": writes,
		"errors": errors, "recovered": from+longest < end})
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "etcdload:", err)
	os.Exit(1)
}

func main() {
	flag.Parse()
	if *connections > *clients {
		*connections = *clients
	}
	opened, err := connect()
	if err != nil {
		fail(err)
	}
	var next uint64
	var group sync.WaitGroup
	workers := make([]*worker, *clients)
	for i := range workers {
		w := &worker{client: opened[i%len(opened)], rng: uint64(i+1) * 0x9e3779b97f4a7c15}
		value := make([]byte, *valueSize)
		for k := range value {
			value[k] = byte('a' + w.random()%26)
		}
		w.value, workers[i] = string(value), w
	}
	start := time.Now()
	end := start.Add(time.Duration(*seconds * 1e9))
	for _, w := range workers {
		group.Add(1)
		go func(w *worker) {
			defer group.Done()
			if *fill {
				w.runFill(&next)
			} else {
				w.run(start, end)
			}
		}(w)
	}
	group.Wait()
	elapsed := time.Since(start).Seconds()
	errors := 0
	var first error
	for _, w := range workers {
		if first == nil {
			first = w.first
		}
		errors += w.errors
	}
	if first != nil {
		fmt.Fprintln(os.Stderr, "etcdload: the first error:", first)
	}
	switch {
	case *fill:
		print(map[string]interface{}{"seconds": elapsed, "keys": *keys, "errors": errors})
	case *gap:
		reportGap(workers, errors)
	default:
		report(workers, elapsed, errors, first)
	}
	if errors != 0 && !*gap {
		os.Exit(1)
	}
}
