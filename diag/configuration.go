package diag

var configuration = []Entry{}
