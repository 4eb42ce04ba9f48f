package main

import "bytes"

const unknown = -1

var levels = [...][]string{
	{"trace"}, {"debug"}, {"info", "information"}, {"notice"}, {"warn", "warning"}, {"error", "err"}, {"critical", "crit", "fatal"},
}

// level gives the place of a word among the levels.
func level(word []byte) int {
	for place, words := range levels {
		for _, known := range words {
			if len(word) == len(known) && bytes.EqualFold(word, []byte(known)) {
				return place
			}
		}
	}
	return unknown
}

// redact replaces addresses and card numbers, and says whether there were any.
func redact(text []byte) ([]byte, bool) {
	var out []byte
	done := 0
	for at := 0; at < len(text); {
		from, to, word := 0, 0, ""
		switch b := text[at]; {
		case b == '@':
			from, to = email(text, done, at)
			word = "[email]"
		case digit(b) && (at == 0 || !letter(text[at-1])):
			from, to = at, card(text, at)
			word = "[card]"
		}
		if to == 0 {
			at++
			continue
		}
		out = append(append(out, text[done:from]...), word...)
		done, at = to, to
	}
	return append(out, text[done:]...), done > 0
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

func alphabetic(b byte) bool { return b|0x20 >= 'a' && b|0x20 <= 'z' }

func letter(b byte) bool { return digit(b) || alphabetic(b) }

// email gives where the address around the @ at `at` begins and ends; 0, 0 if there is none.
func email(text []byte, from, at int) (int, int) {
	start, named := at, false
	for start > from && (letter(text[start-1]) || bytes.IndexByte([]byte("._%+-"), text[start-1]) >= 0) {
		start--
		named = named || letter(text[start])
	}
	if !named || at+1 == len(text) || text[at+1] == '.' {
		return 0, 0
	}
	end := 0
	for i := at + 1; i < len(text) && (letter(text[i]) || text[i] == '.' || text[i] == '-'); i++ {
		if text[i] != '.' {
			continue
		}
		top := i + 1
		for top < len(text) && alphabetic(text[top]) {
			top++
		}
		if top-i > 2 {
			end = top
		}
	}
	if end == 0 {
		return 0, 0
	}
	return start, end
}

// card gives where the card number that begins at `at` ends; 0 if there is none.
func card(text []byte, at int) int {
	var digits []byte
	end := at
	for i := at; i < len(text); i++ {
		if b := text[i]; digit(b) {
			if len(digits) == 19 {
				return 0
			}
			digits, end = append(digits, b-'0'), i+1
		} else if (b != ' ' && b != '-') || end != i {
			break
		}
	}
	if len(digits) < 13 || end < len(text) && letter(text[end]) || !luhn(digits) {
		return 0
	}
	return end
}

func luhn(digits []byte) bool {
	sum := 0
	for i := range digits {
		d := int(digits[len(digits)-1-i])
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}
