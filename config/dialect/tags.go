package dialect

// UniqueTags refuses a key that stands in a list of tags twice; name is what the list calls keys.
func UniqueTags(c *Check, tags *Value, name string) {
	seen := map[string]bool{}
	for _, t := range tags.Items() {
		key := t.Field(name)
		if key.OK() && seen[key.Text()] {
			c.Fail(key, Twice, "the tag key %q stands here twice", printable(key.Text()))
		}
		seen[key.Text()] = true
	}
}
