import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useRef } from 'react'
import { submitTask, taskKeys } from '../api/tasks'
import type { Submission } from '../api/types'
import { randomKey } from './idempotency'

/** Submits a task and opens it. Sending the same form again after a lost answer gives the same task. */
export function useSubmit() {
  const client = useQueryClient()
  const navigate = useNavigate()
  const last = useRef({ body: '', key: '' })
  return useMutation({
    mutationFn: (submission: Submission) => {
      const body = JSON.stringify(submission)
      if (last.current.body !== body) last.current = { body, key: randomKey() }
      return submitTask(submission, last.current.key)
    },
    onSuccess: async (accepted) => {
      void client.invalidateQueries({ queryKey: taskKeys.lists })
      await navigate({ to: '/tasks/$id', params: { id: accepted.id } })
    },
  })
}
