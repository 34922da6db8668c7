package config

// What somebody meant who mistyped a name.

import (
	"slices"
	"strings"
)

// nearest is the candidate that name is most likely a slip for; empty if none is near.
func nearest(name string, candidates []string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	best, least := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		if d := distance(name, strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of letters to add, drop, change or swap with their neighbour to make b of a: the optimal string alignment.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// suggestPath is the key or section that was meant by an unknown name in a section: one of the same section, else one elsewhere.
func (s *schema) suggestPath(section, name string) string {
	var siblings, others []string
	paths := map[string]string{} // of the others, by their last name; the first of that name
	for _, path := range slices.Concat(s.order, s.keyPaths()) {
		last := lastName(path)
		switch {
		case path == s.base:
		case parent(path) == section:
			siblings = append(siblings, last)
		case paths[last] == "":
			others = append(others, last)
			paths[last] = path
		}
	}
	if best := nearest(name, siblings); best != "" {
		return join(section, best)
	}
	return paths[nearest(name, others)]
}

// suggestVariable is the variable that was meant by an unknown one.
func (s *schema) suggestVariable(name string) string {
	var names []string
	for _, k := range s.keys {
		names = append(names, strings.TrimPrefix(variable(k.path), prefix))
	}
	if best := nearest(strings.TrimPrefix(name, prefix), names); best != "" {
		return prefix + best
	}
	return ""
}

func (s *schema) keyPaths() []string {
	paths := make([]string, len(s.keys))
	for i, k := range s.keys {
		paths[i] = k.path
	}
	return paths
}
