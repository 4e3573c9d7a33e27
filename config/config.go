// Package config turns a file into a validated Config and has no other effect.
package config
