/** Generated parts of pages: what stands between `<!-- generated: name -->` and `<!-- end: name -->` is made from the code. */

export type Blocks = Readonly<Record<string, () => string>>

/**
 * The page with its generated parts made anew; everything else stays.
 * @throws Error when the page lacks a block, has one that nobody makes, or one that does not end.
 */
export function fill(page: string, blocks: Blocks, name: string): string {
  const missing = new Set(Object.keys(blocks))
  const filled = page.replace(
    /<!-- generated: (\S+) -->\n(?:[\s\S]*?)<!-- end: (\S+) -->/g,
    (_, block: string, end: string): string => {
      if (end !== block) throw new Error(`${name}: block ${block} ends with 'end: ${end}'`)
      const make = blocks[block]
      if (make === undefined) throw new Error(`${name}: nothing makes the block ${block}; there are ${[...missing].join(', ')}`)
      missing.delete(block)
      return `<!-- generated: ${block} -->\n\n${make().trim()}\n\n<!-- end: ${block} -->`
    },
  )
  if (missing.size > 0)
    throw new Error(`${name}: no place for ${[...missing].join(', ')} ('<!-- generated: … -->', '<!-- end: … -->')`)
  return filled
}

/** A Markdown table. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replace(/\|/g, '\\|').replace(/\s*\n\s*/g, ' ')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
}
