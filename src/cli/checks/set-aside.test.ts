import { describe, expect, it } from 'vitest'
import { type CheckList, runList } from './contract.ts'
import { setAside } from './set-aside.ts'

describe('items that are set aside', () => {
  const list: CheckList = {
    name: 'guest_dma',
    count: 6,
    // Odd ones fail.
    check: (index) => (index % 2 === 0 ? null : { kind: 'k', item: `${index}`, expected: '', actual: '', explain: () => '' }),
    remarks: () => ['its own'],
  }

  it('are not checked; the others keep their places, and the reader is told how many and why', () => {
    const rest = setAside(list, (index) => (index < 4 ? null : 'because'))
    expect(runList(rest, false)).toMatchObject({ passed: 2, failed: 2, first: [{ item: '1' }, { item: '3' }] })
    expect(rest.remarks!()).toEqual(['its own', 'guest_dma: 2 of 6 are set aside: because'])
  })

  it('leave a list as it is when there are none', () => {
    expect(setAside(list, () => null)).toBe(list)
  })
})
