module sawlog

go 1.24
