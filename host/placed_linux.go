package host

import (
	"slices"
	"sort"
)

// placed are routes of ours by the place that they have: one in each, and of several metrics while one replaces
// another or where an earlier run had another metric.
type placed[V any] map[tablePrefix][]placedRoute[V]

type placedRoute[V any] struct {
	metric int
	value  V
}

func (m placed[V]) find(key routeKey) int {
	return slices.IndexFunc(m[key.tablePrefix], func(r placedRoute[V]) bool { return r.metric == key.metric })
}

func (m placed[V]) has(key routeKey) bool { return m.find(key) >= 0 }

func (m placed[V]) get(key routeKey) (v V, ok bool) {
	if i := m.find(key); i >= 0 {
		return m[key.tablePrefix][i].value, true
	}
	return v, false
}

func (m placed[V]) put(key routeKey, v V) {
	if i := m.find(key); i >= 0 {
		m[key.tablePrefix][i].value = v
		return
	}
	m[key.tablePrefix] = append(m[key.tablePrefix], placedRoute[V]{key.metric, v})
}

func (m placed[V]) drop(key routeKey) {
	i := m.find(key)
	if i < 0 {
		return
	}
	if list := slices.Delete(m[key.tablePrefix], i, i+1); len(list) > 0 {
		m[key.tablePrefix] = list
	} else {
		delete(m, key.tablePrefix)
	}
}

// at returns a copy of what a place has.
func (m placed[V]) at(k tablePrefix) []placedRoute[V] { return slices.Clone(m[k]) }

// metrics counts the metrics that the routes to a prefix are to have; the worst comes last.
type metrics []countedMetric

type countedMetric struct{ metric, n int }

func (m metrics) find(metric int) int {
	return sort.Search(len(m), func(i int) bool { return m[i].metric >= metric })
}

func (m *metrics) add(metric int) {
	i := m.find(metric)
	if i == len(*m) || (*m)[i].metric != metric {
		*m = slices.Insert(*m, i, countedMetric{metric: metric})
	}
	(*m)[i].n++
}

func (m *metrics) remove(metric int) {
	i := m.find(metric)
	if (*m)[i].n--; (*m)[i].n == 0 {
		*m = slices.Delete(*m, i, i+1)
	}
}

// worst returns the worst metric, that of package host if there is none.
func (m metrics) worst() int {
	if len(m) == 0 {
		return Metric
	}
	return m[len(m)-1].metric
}
