import { describe, expect, it } from 'vitest'
import { type Outcome, type Transaction, UR, UW } from '../../base/types.ts'
import { runList } from './contract.ts'
import { faultList, mappingList, type Translating, translationList } from './translations.ts'

const FAULT = { ok: false, name: 'F_TRANSLATION', why: 'no entry' } as Outcome

/** A machine of one device: pages of 4 KiB that map 1:1 plus an offset, with rights by page. */
function machine(
  pages: Record<number, { offset: bigint; rights: string; log2?: number }>,
): Translating & { asked: Transaction[] } {
  const asked: Transaction[] = []
  return {
    asked,
    letters: 'rw',
    deviceOf: ({ devid }) => devid ?? 0,
    ask(transaction) {
      asked.push(transaction)
      const page = pages[Number(transaction.iova >> 12n)]
      const letter = transaction.access[0]!
      if (page === undefined || !page.rights.includes(letter)) return FAULT
      const rights = (page.rights.includes('r') ? UR : 0) | (page.rights.includes('w') ? UW : 0)
      return { ok: true, pa: transaction.iova + page.offset, sizeLog2: page.log2 ?? 12, rights, cached: false }
    },
    explain: () => 'the walk',
  }
}

const item = { devid: 5, iova: 0x1010n, pa: 0x9010n, page_size: 4096, perm: 'rw' }
const failureOf = (list: ReturnType<typeof translationList>) => list.check(0)

describe('translations', () => {
  const good = machine({ 1: { offset: 0x8000n, rights: 'rw' } })

  it('hold when every permitted access goes to the address', () => {
    expect(failureOf(translationList(good, 'expected', [item]))).toBeNull()
    expect(good.asked.map(({ device, pasid, access }) => [device, pasid, access])).toEqual([
      [5, undefined, 'read'],
      [5, undefined, 'write'],
    ])
  })

  it('ask with the PASID, which is not the same as none when it is 0', () => {
    const asked = machine({ 1: { offset: 0x8000n, rights: 'rw' } })
    translationList(asked, 'expected', [{ ...item, pasid: 0 }]).check(0)
    expect(asked.asked[0]!.pasid).toBe(0)
  })

  it.each([
    ['another address', { pa: 0x9000n }, 'wrong address'],
    ['another page size', { page_size: 65536 }, 'wrong page size'],
    ['an access too many', { perm: 'r' }, 'wrong permissions'],
    ['nothing mapped', { iova: 0x5000n, pa: 0xd000n }, 'faults with F_TRANSLATION'],
  ])('fail with %s', (_, change, kind) => {
    const failure = failureOf(translationList(good, 'guest_dma', [{ ...item, ...change }]))!
    expect(failure.kind).toBe(kind)
    expect(failure.item).toMatch(/^guest_dma\[0\] \(device, 0x\d010|^guest_dma\[0\] \(device, 0x5000\)$/)
    expect(failure.explain()).toBe('the walk')
  })

  it('fail when an access that is told to have worked is not permitted', () => {
    const readOnly = machine({ 1: { offset: 0x8000n, rights: 'r' } })
    const told = { devid: 5, iova: 0x1010n, pa: 0x9010n }
    expect(failureOf(translationList(readOnly, 'guest_dma', [{ ...told, access: 'w' as const }]))?.kind).toMatch(/^faults/)
    expect(failureOf(translationList(readOnly, 'guest_dma', [{ ...told, access: 'r' as const }]))).toBeNull()
    expect(failureOf(translationList(readOnly, 'expected', [{ ...told, access: null }]))).toBeNull()
    expect(failureOf(translationList(readOnly, 'guest_dma', [{ ...item, access: 'w' as const, perm: 'r' }]))?.kind).toMatch(
      /^faults/,
    )
  })

  it('ignore execution where the file says nothing about it', () => {
    expect(failureOf(translationList(good, 'expected', [{ ...item, perm: 'rw' }]))).toBeNull()
    const tells = { ...good, letters: 'rwx' }
    expect(failureOf(translationList(tells, 'expected', [{ ...item, perm: 'rwx' }]))?.kind).toMatch(/^faults/)
  })
})

describe('kernel mappings', () => {
  const two = { devid: 5, iova: 0x1000n, size: 0x2000n, pa: 0x9000n, page_size: 4096, pte_perm: 'rw' }

  it('are checked at their first and last byte', () => {
    const asked = machine({ 1: { offset: 0x8000n, rights: 'rw' }, 2: { offset: 0x8000n, rights: 'rw' } })
    expect(failureOf(mappingList(asked, 'kernel_mappings', [two]))).toBeNull()
    expect(new Set(asked.asked.map(({ iova }) => iova))).toEqual(new Set([0x1000n, 0x2fffn]))
  })

  it('may end with a smaller page where their size is no multiple of the first page, and only there', () => {
    const pages = machine({
      4: { offset: 0x8000n, rights: 'rw', log2: 14 },
      8: { offset: 0x8000n, rights: 'rw', log2: 12 },
      7: { offset: 0x8000n, rights: 'rw', log2: 12 },
      12: { offset: 0x8000n, rights: 'rw', log2: 15 },
    })
    const check = (size: bigint) =>
      failureOf(mappingList(pages, 'kernel_mappings', [{ ...two, iova: 0x4000n, pa: 0xc000n, page_size: 16384, size }]))
    expect(check(0x5000n)).toBeNull()
    expect(check(0x4000n)?.kind).toBe('wrong page size')
    expect(check(0x9000n)?.kind).toBe('wrong page size')
  })

  it('fail when only the last byte is wrong', () => {
    const broken = machine({ 1: { offset: 0x8000n, rights: 'rw' }, 2: { offset: 0x7000n, rights: 'rw' } })
    expect(failureOf(mappingList(broken, 'kernel_mappings', [two]))).toMatchObject({
      kind: 'wrong address',
      item: 'kernel_mappings[0] (device, 0x1000), last byte',
    })
  })

  it('take the last page of coherent memory from the DMA that went there: it need not follow the first', () => {
    const scattered = machine({ 1: { offset: 0x8000n, rights: 'rw' }, 2: { offset: 0x2_0000n, rights: 'rw' } })
    const two = { devid: 5, iova: 0x1000n, size: 0x2000n, pa: 0x9000n, how: 'coherent' }
    const dma = { ...item, iova: 0x2080n, pa: 0x2_2080n, mapping: 'coherent' }
    const check = (mapping: object, told: object[]) =>
      failureOf(mappingList(scattered, 'kernel_mappings', [{ ...two, ...mapping }], told as never))?.kind ?? 'holds'
    expect(check({}, [dma])).toBe('holds')
    expect(check({}, [])).toBe('wrong address')
    expect(check({}, [{ ...dma, pa: 0x3_2080n }])).toBe('wrong address')
    expect(check({}, [{ ...dma, pasid: 3 }])).toBe('wrong address')
    expect(check({ how: 'page4k' }, [dma])).toBe('wrong address')
  })
})

describe('provoked faults', () => {
  const readOnly = machine({ 1: { offset: 0x8000n, rights: 'r' } })
  const write = {
    devid: 5,
    iova: 0x1010n,
    access: 'w' as const,
    what: 'write-to-ro',
    walk: { pa: 0x9010n, page_size: 4096, perm: 'r' },
  }

  it('must fault, whether something is mapped there or not', () => {
    const list = faultList(readOnly, 'faults_provoked', [write, { devid: 5, iova: 0x7000n, access: 'r', walk: null }])
    expect(runList(list, false)).toMatchObject({ passed: 2, failed: 0 })
    expect(list.permitted).toEqual([])
  })

  it('fail when the access goes through', () => {
    const open = machine({ 1: { offset: 0x8000n, rights: 'rw' } })
    const list = faultList(open, 'faults_provoked', [write, { ...write, walk: null }])
    expect(runList(list, false)).toMatchObject({ passed: 0, failed: 2, kinds: new Map([['does not fault', 2]]) })
  })

  it('must translate to the address of the walk where the tables permit the access, and are told apart', () => {
    const open = machine({ 1: { offset: 0x8000n, rights: 'rw' } })
    const fromWriteOnly = { ...write, access: 'r' as const, walk: { pa: 0x9010n, page_size: 4096, perm: 'rw' } }
    const list = faultList(open, 'faults_provoked', [
      fromWriteOnly,
      { ...fromWriteOnly, walk: { ...fromWriteOnly.walk, pa: 0n } },
    ])
    expect(runList(list, false)).toMatchObject({ passed: 1, failed: 1, kinds: new Map([['wrong address', 1]]) })
    expect(list.permitted.length).toBe(2)
  })
})

describe('running a list', () => {
  const list = {
    name: 'list',
    count: 100,
    check: (index: number) => (index % 2 ? { ...FAILURE, kind: index % 4 === 1 ? 'a' : 'b' } : null),
  }
  const FAILURE = { kind: '', item: '', expected: '', actual: '', explain: () => '' }

  it('counts by kind and keeps the first failures', () => {
    const result = runList(list, false)
    expect(result).toMatchObject({
      passed: 50,
      failed: 50,
      kinds: new Map([
        ['a', 25],
        ['b', 25],
      ]),
    })
    expect(result.first.length).toBe(3)
  })

  it('stops at the first failure when asked to', () => {
    expect(runList(list, true)).toMatchObject({ passed: 1, failed: 1 })
  })
})
