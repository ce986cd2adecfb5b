/** The rule about names of architectures finds what breaks it, and only that. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { check, namesIn, REGISTRIES } from './check-names.js'

const at = (text: string) => namesIn('file.ts', text).map((place) => place.replace(/^file\.ts:\d+: /, ''))

describe('names of architectures', () => {
  it('are found in imports, identifiers, keys, strings and patterns', () => {
    expect(at("import { STE } from '../format/smmuv3/ste.ts'")).toEqual(['imports ../format/smmuv3/ste.ts'])
    expect(at("export { x } from './restore-vtd.ts'")).toEqual(['imports ./restore-vtd.ts'])
    expect(at('const isRiscv = readAmdLog()')).toEqual(['isRiscv', 'readAmdLog'])
    expect(at("if (kind === 'vtd') x.amdvi = SMMU_CR0")).toEqual(["'vtd'", 'amdvi', 'SMMU_CR0'])
    expect(at('const like = /^(DMAR|AMD-Vi): /')).toEqual(['/^(DMAR|AMD-Vi): /'])
    expect(at('const kind = `riscv`')).toEqual(["'riscv'"])
  })

  it('are not found in comments, in texts for people, or in words that only look like them', () => {
    expect(at('// as SMMUv3 does\n/** VT-d too */ const x = 1')).toEqual([])
    expect(at("const help = 'reads captures of SMMUv3 and VT-d'")).toEqual([])
    expect(at('const armed = x.arm(); const damd = 1; const avtdouble = 2')).toEqual([])
    expect(at("import { a } from './architectures.ts'")).toEqual([])
  })

  it('are in no file of src/ that is of all architectures, but in one registry of a folder', () => {
    expect(check(join(import.meta.dirname, '../src'))).toEqual([])
    const folders = REGISTRIES.map((name) => name.split('/')[0])
    expect(folders).toEqual([...new Set(folders)])
  })
})
