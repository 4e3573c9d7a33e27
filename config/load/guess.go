package load

import (
	"vpngw/config/native"
	"vpngw/config/tree"
)

// Guess is the dialect of a cloud's body, by its keys; empty where they do not say it.
func Guess(body []byte) string {
	req, _ := tree.ReadBody("body", body, tree.NewBudget())
	if req == nil || req.Root == nil {
		return ""
	}
	best, second, name := 0, 0, ""
	for _, d := range dialects {
		if d.Name == native.Name {
			continue
		}
		switch n := d.Knows(req.Root); {
		case n > best:
			best, second, name = n, best, d.Name
		case n > second:
			second = n
		}
	}
	if best < 3 || best == second {
		return ""
	}
	return name
}
