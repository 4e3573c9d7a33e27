// Package lanes ciphers and hashes many buffers at once: AES-CBC, and HMAC with MD5, SHA-1 and SHA-2. One buffer leaves most
// of a processor idle, since each block waits for the one before. Here a register has a block of four buffers, or a word of
// sixteen. It seals and opens one packet at a time with AES-GCM, and sums one buffer for RFC 1071, over the same registers.
//
// All buffers of a call have one key. Their lengths may differ; the more equal they are, the better. What is
// fastest for how many buffers stands in a table that was measured (see README.md).
//
// There are two sets of functions in assembly, for AMD64 with AVX-512, VAES and VPCLMULQDQ, and with AVX2 and AES-NI, the second with the SHA
// instructions where they are. Everything else takes the standard library's way, as does a build with the tag purego. The
// results are the same. Time and memory accesses depend on lengths, not on keys or data.
package lanes

//go:generate go run ./gen

// Max is how many buffers are worked on at once. More are taken in turns.
const Max = 16
