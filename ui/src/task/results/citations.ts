/** Text and citations in turn: "so [1, 2]." gives `["so ", [1, 2], "."]`. */
export function splitCitations(answer: string): (string | number[])[] {
  return answer
    .split(/(\[\d+(?:\s*,\s*\d+)*\])/)
    .map((part, index) => (index % 2 === 0 ? part : part.slice(1, -1).split(',').map(Number)))
    .filter((part) => part !== '')
}
