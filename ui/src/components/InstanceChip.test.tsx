import { screen } from '@testing-library/react'
import { expect, it } from 'vitest'
import type { InstanceState } from '../api/types'
import { renderPart } from '../test/render'
import { instance } from '../test/shapes'
import { InstanceChip } from './InstanceChip'

const STATES: InstanceState[] = ['requested', 'booting', 'ready', 'working', 'draining', 'terminated']

it.each(STATES)('says in words that an instance is %s', (state) => {
  renderPart(<InstanceChip instance={instance({ state, busy: null })} />)
  expect(screen.getByText(new RegExp(state))).toBeInTheDocument()
})
